"""Which weights are published, and where they are.

`index.json` lists the digest of every manifest, and a manifest lists the digest of every file: one
small file vouches for all others. Needs neither JAX nor Flax.
"""

import collections
import dataclasses
import fnmatch
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from zoo.common import files, words
from zoo.common.json_text import JsonError, as_entries, as_form
from zoo.pretrained.address import Listed, UnknownWeightError, parse_id
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
_ABOUT = ("params", "input_size", "bytes")
_VARIABLE = "ZOO_CHECKPOINTS"


@dataclasses.dataclass(frozen=True)
class IndexEntry:
    """One published weight.

    Attributes:
      folder: where it is beside the index, if it is there at all.
      manifest: the digest of its manifest.
      metrics: its accuracy for listings.
      about: for listings too: "params", "input_size" and "bytes", where the index says them.
      urls: addresses of its folder, in the order in which to try them.
      is_default: whether its architecture without a tag means this weight.
    """

    folder: Path
    manifest: dict[str, Any]
    metrics: dict[str, Any]
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    urls: tuple[str, ...] = ()
    is_default: bool = False


class _Listed(Struct):
    manifest: FileEntry
    metrics: dict[str, dict[str, int | float]] = {}


class _Index(Struct):
    weights: dict[str, Any]
    defaults: dict[str, str] = {}
    urls: tuple[str, ...] = ()


def checkpoints_folder() -> Path:
    """Where published weights are: ZOO_CHECKPOINTS, else those of the checkout or of the wheel.

    A wheel carries the whole index, but of the weights only the demo's: `zoo/published/`.
    """
    given = os.environ.get(_VARIABLE)
    if given:
        return Path(given).expanduser()
    package = Path(__file__).parents[1]
    installed = package / "published"
    return installed if installed.is_dir() else package.with_name("checkpoints")


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
    if any(f"{arch}.{tag}" not in weights for arch, tag in index.defaults.items()):
        raise ManifestError(f"{where}: 'defaults' names a weight it does not list; fetch it again")
    if any(url_problem(base) for base in index.urls):
        raise ManifestError(f"{where}: 'urls' is not a list of https addresses; fetch it again")
    entries = {
        id: IndexEntry(
            folder=checkpoints / id,
            manifest=msgspec.structs.asdict(weights[id].manifest),
            metrics=weights[id].metrics,
            about=_about(values["weights"][id]),
            urls=tuple(f"{base.rstrip('/')}/{id}" for base in index.urls),
        )
        for id in sorted(weights, key=words.natural_order)
    }
    tags = collections.Counter(parse_id(id).arch for id in entries)
    for id, entry in entries.items():
        arch, tag = id.split(".", 1) if "." in id else (id, None)
        if tags[arch] == 1 or index.defaults.get(arch) == tag:
            entries[id] = dataclasses.replace(entry, is_default=True)
    return entries


def write_index(
    checkpoints: Path,
    urls: Sequence[str] | None = None,
    defaults: Mapping[str, str] | None = None,
) -> None:
    """Lists every published weight below `checkpoints` in its `index.json`, atomically.

    Args:
      checkpoints: the folder of published weights.
      urls: addresses from which `checkpoints` is served, in the order in which to try them; None
        keeps those of the present index.
      defaults: architecture -> tag of the weight that is meant by the architecture alone. Others
        keep theirs; of several weights without a default it is the one written first, so that a
        new one changes nobody's program.
    """
    present = read_object(checkpoints / INDEX) if (checkpoints / INDEX).exists() else {}
    urls = present.get("urls", []) if urls is None else urls
    folders = sorted(path.parent for path in checkpoints.glob(f"*/{MANIFEST}"))
    weights, created = {}, {}
    for folder in folders:
        manifest = read_manifest(folder)
        if manifest.id != folder.name:
            raise ManifestError(f"{folder} holds {manifest.id}; rename the folder to that")
        digest = files.digest_of((folder / MANIFEST).read_bytes())
        metrics = {
            name: {key: measured[key] for key in ("top1", "top5", "n")}
            for name, measured in manifest.metrics.items()
        }
        weights[manifest.id] = {
            "manifest": digest,
            "metrics": metrics,
            "params": manifest.params,
            "input_size": list(manifest.input_size),
            "bytes": manifest.num_bytes,
        }
        created[manifest.id] = manifest.created
    chosen = {**present.get("defaults", {}), **(defaults or {})}
    values = {
        "format_version": INDEX_VERSION,
        "urls": list(urls),
        "defaults": _defaults(created, chosen),
        "weights": weights,
    }
    files.write(checkpoints / INDEX, json.dumps(values, indent=1) + "\n")


def _defaults(created: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Architecture -> tag, for those with several weights.

    Args:
      created: id -> when the weight was written.
      chosen: architecture -> tag that is wanted; one that does not exist is left out.
    """
    tags: dict[str, list[str]] = {}
    for id in sorted(created, key=lambda id: (created[id], id)):
        listed = parse_id(id)
        tags.setdefault(listed.arch, []).append(str(listed.tag))
    return {
        arch: chosen[arch] if chosen.get(arch) in those else those[0]
        for arch, those in sorted(tags.items())
        if len(those) > 1
    }


def list_pretrained(pattern: str = "*") -> list[str]:
    """Ids of published weights that match a shell pattern, by family, depth and tag."""
    return fnmatch.filter(read_index(), pattern)


def find(name: str | Listed) -> tuple[str, IndexEntry]:
    """The published weight called `arch.tag`, or the default one of architecture `arch`.

    Raises:
      UnknownWeightError: if there is none; names those of the architecture, or the nearest.
    """
    listed = name if isinstance(name, Listed) else parse_id(name)
    index = read_index()
    same_arch = {id: entry for id, entry in index.items() if parse_id(id).arch == listed.arch}
    for id, entry in same_arch.items():
        if id == str(listed) or (listed.tag is None and entry.is_default):
            return id, entry
    if same_arch:
        raise UnknownWeightError(f"no weight {str(listed)!r}; there are: {', '.join(same_arch)}")
    hint = words.nearest(str(listed), index) or f"{checkpoints_folder()} lists none like it"
    raise UnknownWeightError(
        f"no weight {str(listed)!r}; {hint}; all: zoo list --pretrained; own weights: zoo train"
    )


def _about(values: dict[str, Any]) -> dict[str, Any]:
    """What listings say of a weight without its manifest."""
    return {name: values[name] for name in _ABOUT if name in values}
