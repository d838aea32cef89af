"""Which weights are published, and where they are.

`index.json` lists the digest of every manifest, and a manifest lists the digest of every file: one
small file vouches for all others. Needs neither JAX nor Flax.
"""

import dataclasses
import difflib
import fnmatch
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from zoo.common.json_text import JsonError, as_entries, as_form
from zoo.naming import natural_order
from zoo.pretrained.manifest import MANIFEST, read_manifest
from zoo.pretrained.schema import FileEntry, is_id
from zoo.pretrained.strict_json import (
    ManifestError,
    check_version,
    parse_object,
    read_bounded,
    read_object,
)
from zoo.transfer import url_problem

INDEX = "index.json"
INDEX_VERSION = 1
_VARIABLE = "ZOO_CHECKPOINTS"


class UnknownWeightError(ValueError):
    """No published weight has this name."""


@dataclasses.dataclass(frozen=True)
class IndexEntry:
    """One published weight.

    Attributes:
      folder: where it is beside the index, if it is there at all.
      manifest: the digest of its manifest.
      metrics: its accuracy for listings.
      urls: addresses of its folder, in the order in which to try them.
    """

    folder: Path
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    urls: tuple[str, ...] = ()


class _Listed(Struct):
    manifest: FileEntry
    metrics: dict[str, dict[str, int | float]] = {}


class _Index(Struct):
    weights: dict[str, Any]
    urls: tuple[str, ...] = ()


def checkpoints_folder() -> Path:
    """Where published weights are: ZOO_CHECKPOINTS, else `checkpoints/` beside the package."""
    given = os.environ.get(_VARIABLE)
    return Path(given).expanduser() if given else Path(__file__).parents[2] / "checkpoints"


def read_index(checkpoints: Path | None = None) -> dict[str, IndexEntry]:
    """Published weights by id, in natural order; none where there is no `index.json`.

    Raises:
      ManifestError: if the index is damaged or of a newer form.
    """
    checkpoints = checkpoints_folder() if checkpoints is None else checkpoints
    path = checkpoints / INDEX
    if not path.exists() and not path.is_symlink():
        return {}
    return parse_index(read_bounded(path), path, checkpoints)


def parse_index(raw: bytes, where: str | Path, checkpoints: Path) -> dict[str, IndexEntry]:
    """The index in `raw`, which came from `where`; its weights have their folders below
    `checkpoints`.

    Raises:
      ManifestError: as `read_index`.
    """
    values = parse_object(raw, where)
    check_version(values, INDEX_VERSION, where)
    try:
        index = as_form(values, _Index)
        weights = as_entries(index.weights, _Listed)
    except JsonError as error:
        raise ManifestError(f"{where}: {error}; fetch it again") from None
    if odd := next((id for id in weights if not is_id(id)), None):
        raise ManifestError(f"{where}: entry {odd[:60]!r} is not a weight; fetch it again")
    if any(url_problem(base) for base in index.urls):
        raise ManifestError(f"{where}: 'urls' is not a list of https addresses; fetch it again")
    return {
        id: IndexEntry(
            folder=checkpoints / id,
            manifest=msgspec.structs.asdict(weights[id].manifest),
            metrics=weights[id].metrics,
            urls=tuple(f"{base.rstrip('/')}/{id}" for base in index.urls),
        )
        for id in sorted(weights, key=natural_order)
    }


def write_index(checkpoints: Path, urls: Sequence[str] | None = None) -> None:
    """Lists every published weight below `checkpoints` in its `index.json`, atomically.

    Args:
      checkpoints: the folder of published weights.
      urls: addresses from which `checkpoints` is served, in the order in which to try them; None
        keeps those of the present index.
    """
    if urls is None:
        present = checkpoints / INDEX
        urls = read_object(present).get("urls", []) if present.exists() else []
    folders = sorted(path.parent for path in checkpoints.glob(f"*/{MANIFEST}"))
    weights = {}
    for folder in folders:
        manifest = read_manifest(folder)
        if manifest.id != folder.name:
            raise ManifestError(f"{folder} holds {manifest.id}; rename the folder to that")
        digest = digest_of((folder / MANIFEST).read_bytes())
        metrics = {
            name: {key: measured[key] for key in ("top1", "top5", "n")}
            for name, measured in manifest.metrics.items()
        }
        weights[manifest.id] = {"manifest": digest, "metrics": metrics}
    values = {"format_version": INDEX_VERSION, "urls": list(urls), "weights": weights}
    text = json.dumps(values, indent=1)
    temporary = checkpoints / f".{INDEX}.{os.getpid()}"
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, checkpoints / INDEX)


def list_pretrained(pattern: str = "*") -> list[str]:
    """Ids of published weights that match a shell pattern, by family, depth and tag."""
    return fnmatch.filter(read_index(), pattern)


def find(name: str) -> tuple[str, IndexEntry]:
    """The published weight called `arch.tag`, or the only one of architecture `arch`.

    Raises:
      UnknownWeightError: if there is none or more than one; names the nearest or all.
    """
    if not is_id(name):
        raise UnknownWeightError(
            f"{name!r} names no weight; allowed: arch.tag such as "
            "vanilla_resnet50_tat_lrelu.digits, dir:PATH, https://..., hf:ORG/NAME@REVISION, or "
            "the directory of a run"
        )
    index = read_index()
    if name in index:
        return name, index[name]
    same_arch = [id for id in index if id.partition(".")[0] == name.partition(".")[0]]
    if "." not in name and len(same_arch) == 1:
        return same_arch[0], index[same_arch[0]]
    if same_arch:
        raise UnknownWeightError(f"no weight {name!r}; there are: {', '.join(same_arch)}")
    near = difflib.get_close_matches(name, index, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}" if near else f"{checkpoints_folder()} lists none like it"
    raise UnknownWeightError(
        f"no weight {name!r}; {hint}; all: zoo list --pretrained; own weights: zoo train"
    )


def digest_of(content: bytes) -> dict[str, Any]:
    """Size and sha256 of `content`, as manifests list them."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
