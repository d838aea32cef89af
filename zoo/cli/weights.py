"""Commands on the files of published weights: download, cache, export, push."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from zoo.cli.commands import Command
from zoo.cli.text import Output
from zoo.common.console import Working
from zoo.pretrained.address import GRAMMAR

_Format = Literal["safetensors", "huggingface", "torch", "onnx", "stablehlo"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Download(Command):
    """Fetch a published weight into the cache, verified; does nothing where it is there whole.

    ZOO_URL names other servers, ZOO_CACHE another cache, ZOO_OFFLINE=1 forbids every connection.

    $ zoo download vanilla_resnet50_tat_lrelu.digits
    $ zoo download hf:someone/vanilla_resnet50@v1
    """

    source: Annotated[Positional[str], arg(help=GRAMMAR)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cache(Command):
    """What was downloaded: where it is, what there is, whether it is intact; or remove it.

    $ zoo cache path
    $ zoo cache list
    $ zoo cache verify
    $ zoo cache rm vanilla_resnet50_tat_lrelu.digits
    """

    action: Annotated[Positional[Literal["path", "list", "verify", "rm"]], arg(help="what to do")]
    id: Annotated[Positional[str | None], arg(help="one weight; rm needs it, or --all")] = None
    all: Annotated[bool, arg(help="rm: every weight")] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export(Command):
    """A weight in another form, for other programs; one file or a folder.

    safetensors and huggingface load again: zoo predict FILE.safetensors, zoo predict dir:FOLDER.

    $ zoo export vanilla_resnet50_tat_lrelu.digits
    $ zoo export runs/mine --format huggingface --out flowers
    $ zoo export vanilla_resnet50_tat_lrelu.digits --release --url https://HOST/PATH
    $ zoo export vanilla_resnet50_tat_lrelu.digits --format torch --out digits_torch
    $ zoo export vanilla_resnet50_tat_lrelu.digits --format onnx --out digits.onnx
    $ zoo export runs/diracnet --plain --out folded.safetensors
    """

    model: Annotated[Positional[str], arg(help=GRAMMAR)]
    format: Annotated[_Format, arg(help="what to write")] = "safetensors"
    out: Annotated[str | None, arg(help="a path that is free; None: named after the weight")] = None
    plain: Annotated[bool, arg(help="fold normalisation, merge paths; torch always is")] = False
    widen: Annotated[bool, arg(help="carry shortcuts in wider convolutions")] = False
    release: Annotated[bool, arg(help="list the safetensors file in the weight's manifest")] = False
    url: Annotated[str | None, arg(help="with --release: where the file is going to be served")] = (
        None
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Push(Command):
    """Upload a weight to Hugging Face's hub in one commit; needs huggingface_hub and HF_TOKEN.

    $ zoo push runs/mine hf:me/flowers
    $ zoo predict hf:me/flowers photo.jpg
    """

    model: Annotated[Positional[str], arg(help=GRAMMAR)]
    repository: Annotated[Positional[str], arg(help="hf:ORG/NAME or hf:ORG/NAME@BRANCH")]
    private: Annotated[bool, arg(help="close a new repository to others")] = False


def download(command: Download) -> Output:
    """A weight into the cache."""
    from zoo.pretrained.manifest import MANIFEST
    from zoo.pretrained.sources import locate

    folder, manifest = locate(command.source)
    size = manifest.num_bytes + (folder / MANIFEST).stat().st_size
    value = {"id": manifest.id, "folder": str(folder), "bytes": size}
    return Output(value, [f"{manifest.id}: {size:,} bytes, every file verified, in {folder}"])


def cache(command: Cache) -> Output:
    """The cache: path, list, verify or rm."""
    if command.all and command.action != "rm":
        raise ValueError("--all belongs to zoo cache rm")
    if command.action == "path":
        from zoo.pretrained.cache import cache_folder

        return Output(str(cache_folder()), [str(cache_folder())])
    return _remove(command) if command.action == "rm" else _list(command)


def _list(command: Cache) -> Output:
    from zoo.pretrained.cache import cache_folder, list_cached

    verify = command.action == "verify"
    weights = [w for w in list_cached(verify=verify) if command.id in (None, w.id)]
    if command.id is not None and not weights:
        raise ValueError(f"no {command.id!r} in {cache_folder()}; see: zoo cache list")
    damaged = [w for w in weights if w.problems]
    if verify and damaged:
        what = "; ".join(f"{w.id}: {', '.join(w.problems)}" for w in damaged)
        raise ValueError(f"{what}; repair: zoo download ID, or: zoo cache rm ID")
    state = "  intact" if verify else ""
    lines = [f"{w.id}  {w.bytes:,} bytes  {w.folder}{state}" for w in weights]
    return Output([_plain(w) for w in weights], lines or [f"nothing in {cache_folder()}"])


def _remove(command: Cache) -> Output:
    from zoo.pretrained.staging import remove_cached

    if (command.id is None) != command.all:
        raise ValueError("zoo cache rm needs the id of one weight, or --all")
    removed = remove_cached(command.id)
    lines = [f"removed {w.id}, {w.bytes:,} bytes" for w in removed]
    return Output([_plain(w) for w in removed], lines or ["nothing to remove"])


def _plain(weight: object) -> dict[str, object]:
    values = dataclasses.asdict(weight)  # pyrefly: ignore
    return {**values, "folder": str(values["folder"]), "problems": list(values["problems"])}


def export(command: Export) -> Output:
    """A weight in another form."""
    from zoo.export import export

    if command.release:
        return _release(command)
    if command.url is not None:
        raise ValueError("--url belongs to --release")
    form = {"plain": command.plain, "widen": command.widen}
    with Working(f"exporting {command.model}"):
        path = export(command.model, command.out, format=command.format, **form)
    return Output({"model": command.model, "path": str(path)}, [f"wrote {path}"])


def _release(command: Export) -> Output:
    from zoo.export import release
    from zoo.pretrained.index import find

    if command.format != "safetensors":
        raise ValueError(f"--release lists a safetensors file, not {command.format}")
    id, entry = find(command.model)
    if not entry.folder.is_dir():
        raise ValueError(f"{id} is not published from this machine; there is no {entry.folder}")
    out = None if command.out is None else Path(command.out)
    listed = release(entry.folder, out, url=command.url).releases["safetensors"]
    path = Path(command.out or listed["file"]).absolute()
    value = {"model": id, "path": str(path), "release": listed}
    return Output(value, [f"wrote {path}; {entry.folder} lists its sha256 {listed['sha256']}"])


def push(command: Push) -> Output:
    """A weight to a hub."""
    from zoo.export import push

    with Working(f"uploading {command.model} to {command.repository}"):
        url = push(command.model, command.repository, private=command.private)
    value = {"model": command.model, "repository": command.repository, "url": url}
    return Output(value, [f"uploaded as {url}; use it: zoo predict {command.repository} FILES"])
