"""Which weights are published, and where they are.

`index.json` lists the digest of every manifest, and a manifest lists the digest of every file: one
small file vouches for all others. Needs neither JAX nor Flax.
"""

import dataclasses
import fnmatch
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.common import files, words
from zoo.pretrained.manifest import MANIFEST, read_manifest
from zoo.pretrained.schema import digest_problem, is_id
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
    weights, bases = values.get("weights"), values.get("urls", [])
    if not isinstance(weights, dict):
        raise ManifestError(f"{where}: 'weights' is not an object; fetch it again")
    if not isinstance(bases, list) or any(not isinstance(b, str) or url_problem(b) for b in bases):
        raise ManifestError(f"{where}: 'urls' is not a list of https addresses; fetch it again")
    return {
        id: _entry(where, id, weights[id], checkpoints, bases)
        for id in sorted(weights, key=words.natural_order)
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
        digest = files.digest_of((folder / MANIFEST).read_bytes())
        metrics = {
            name: {key: measured[key] for key in ("top1", "top5", "n")}
            for name, measured in manifest.metrics.items()
        }
        weights[manifest.id] = {"manifest": digest, "metrics": metrics}
    values = {"format_version": INDEX_VERSION, "urls": list(urls), "weights": weights}
    files.write(checkpoints / INDEX, json.dumps(values, indent=1) + "\n")


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
    hint = words.nearest(name, index) or f"{checkpoints_folder()} lists none like it"
    raise UnknownWeightError(
        f"no weight {name!r}; {hint}; all: zoo list --pretrained; own weights: zoo train"
    )


def _entry(
    where: str | Path, id: str, values: Any, checkpoints: Path, bases: Sequence[str]
) -> IndexEntry:
    if not is_id(id) or not isinstance(values, dict):
        raise ManifestError(f"{where}: entry {id!r} is not a weight; fetch it again")
    problem = digest_problem(values.get("manifest"))
    if problem:
        raise ManifestError(f"{where}: entry {id!r}: manifest {problem}; fetch it again")
    metrics = values.get("metrics")
    return IndexEntry(
        folder=checkpoints / id,
        manifest=values["manifest"],
        metrics=metrics if isinstance(metrics, dict) else {},
        urls=tuple(f"{base.rstrip('/')}/{id}" for base in bases),
    )
