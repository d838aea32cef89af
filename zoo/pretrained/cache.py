"""Published weights on this machine: one folder each, which is whole or not there.

`CACHE/weights/ID@SHA256` holds a weight whose manifest has that sha256; what is being downloaded is
in `CACHE/weights/.incoming`, under a name nobody loads from. Nothing here opens a connection.
"""

import dataclasses
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zoo.checkpoint.integrity import file_problems
from zoo.common.files import digest_of
from zoo.pretrained.manifest import MANIFEST, Manifest, parse_manifest, read_manifest
from zoo.pretrained.schema import is_id
from zoo.pretrained.strict_json import ManifestError, read_bounded
from zoo.transfer import cache_home


@dataclasses.dataclass(frozen=True)
class Pin:
    """One immutable weight: its id and the digest of its manifest, which vouches for the rest."""

    id: str
    bytes: int
    sha256: str

    @property
    def folder(self) -> Path:
        """Where it is, or would be."""
        return cache_folder() / f"{self.id}@{self.sha256}"

    @property
    def digest(self) -> dict[str, Any]:
        """Size and sha256 of the manifest, as the index lists them."""
        return {"bytes": self.bytes, "sha256": self.sha256}


@dataclasses.dataclass(frozen=True)
class CachedWeight:
    """A weight in the cache, for listings; `problems` says what is wrong with its files."""

    id: str
    folder: Path
    bytes: int
    problems: tuple[str, ...] = ()


def cache_folder() -> Path:
    """Folder of downloaded weights."""
    return cache_home() / "weights"


def incoming() -> Path:
    """Folder of downloads that are not whole yet."""
    return cache_folder() / ".incoming"


def list_cached(*, verify: bool = False) -> list[CachedWeight]:
    """Weights in the cache by id.

    Args:
      verify: hash every file and report what is wrong.
    """
    return [_look(pin, verify) for pin in sorted(_pins(), key=lambda pin: pin.folder.name)]


def inspect(folder: Path, digest: dict[str, Any]) -> tuple[Manifest | None, list[str]]:
    """The manifest of `folder`, and in what its files are not those of the manifest with `digest`.

    Returns:
      (None, problems) where the manifest itself is missing or another one.

    Raises:
      ManifestError: the right manifest, but none this program can read.
    """
    if folder.is_symlink() or not folder.is_dir():
        return None, ["is not there"]
    try:
        raw = read_bounded(folder / MANIFEST)
    except (ManifestError, OSError):
        return None, [f"{MANIFEST} is missing"]
    if digest_of(raw) != digest:
        return None, [f"{MANIFEST} is altered"]
    manifest = parse_manifest(raw, folder / MANIFEST)
    return manifest, file_problems(folder, {**manifest.files, MANIFEST: digest})


def entries(folder: Path) -> list[Path]:
    """What is in `folder`, nothing where there is none."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _pins() -> Iterator[Pin]:
    for path in entries(cache_folder()):
        id, _, sha256 = path.name.partition("@")
        if is_id(id) and len(sha256) == 64 and stat.S_ISDIR(path.lstat().st_mode):
            yield Pin(id, 0, sha256)


def _look(pin: Pin, verify: bool) -> CachedWeight:
    try:
        raw = read_bounded(pin.folder / MANIFEST)
        manifest = read_manifest(pin.folder)
    except (ManifestError, OSError) as error:
        return CachedWeight(pin.id, pin.folder, 0, (str(error),))
    problems: list[str] = []
    if verify:
        _, problems = inspect(pin.folder, {"bytes": len(raw), "sha256": pin.sha256})
    return CachedWeight(pin.id, pin.folder, manifest.num_bytes + len(raw), tuple(problems))
