"""Where encoded images lie: loose files, members of tar archives, records of packed shards.

A store knows names and bytes, not labels. Stores travel to worker processes, so file handles are
opened where they are used.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zoo.data.tar import DamagedTarError, members


class Store(Protocol):
    """Encoded images by number."""

    names: Sequence[str]

    def place(self, index: int) -> str:
        """Where an image lies, for messages."""
        ...

    def read(self, index: int) -> bytes:
        """Bytes of the encoded image; `OSError` or `ValueError` where they cannot be had."""
        ...

    def take(self, order: np.ndarray) -> "Store":
        """The same images in another order, int [n]."""
        ...


class Files:
    """Image files below `root`, given by their relative paths."""

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self.root, self.paths = root, list(paths)
        self.names: Sequence[str] = [path.rpartition("/")[2] for path in self.paths]

    def place(self, index: int) -> str:
        """Path of the file."""
        return str(self.root / self.paths[index])

    def read(self, index: int) -> bytes:
        """Content of the file."""
        return (self.root / self.paths[index]).read_bytes()

    def take(self, order: np.ndarray) -> "Files":
        """The same files in another order."""
        return Files(self.root, [self.paths[index] for index in order])


class TarMembers:
    """Members of uncompressed tar archives, read at their offsets without unpacking.

    Args:
      archives: the files.
      members: (number of the archive, name, offset of the content, size), the last two in bytes.
    """

    def __init__(self, archives: Sequence[Path], members: list[tuple[int, str, int, int]]) -> None:
        self.archives, self.members = list(archives), members
        self.names: Sequence[str] = [name for _, name, _, _ in members]
        self._open: dict[int, int] = {}

    def place(self, index: int) -> str:
        """Archive and member."""
        archive, name, _, _ = self.members[index]
        return f"{self.archives[archive]}: {name}"

    def read(self, index: int) -> bytes:
        """Content of the member, shorter where the archive ends early."""
        archive, _, offset, size = self.members[index]
        if archive not in self._open:
            # Threads may both open it; the loser's handle lives as long as the process.
            self._open[archive] = os.open(self.archives[archive], os.O_RDONLY)
        return os.pread(self._open[archive], size, offset)

    def take(self, order: np.ndarray) -> "TarMembers":
        """The same members in another order."""
        return TarMembers(self.archives, [self.members[index] for index in order])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __del__(self) -> None:
        for handle in self.__dict__.get("_open", {}).values():
            os.close(handle)


def list_tar(path: Path, base: int = 0, size: int | None = None) -> list[tuple[str, int, int]]:
    """(name, offset, size) of the regular members of a tar archive, offsets from the file's start.

    Args:
      path: the archive, or a file with an archive inside.
      base: where the archive begins in the file, in bytes.
      size: how long it is; None reaches to the end of the file.

    Raises:
      ValueError: if the archive is damaged or ends early, naming it.
    """
    found = []
    try:
        end = path.stat().st_size if size is None else base + size
        with path.open("rb") as file:
            for member in members(file, base):
                if member.offset >= end:
                    break  # an inner archive without an end mark runs into what follows it
                if member.isreg():
                    found.append((member.name, member.offset_data, member.size))
            length = file.seek(0, os.SEEK_END)
    except (OSError, DamagedTarError) as error:
        raise ValueError(f"{path} is damaged ({error}); get the archive again") from error
    cut = [name for name, offset, size in found if offset + size > end]
    if cut or end > length:
        raise ValueError(
            f"{path} ends early, inside {(cut or [path.name])[0]}; get the archive again"
        )
    return found


def is_image_name(name: str, suffixes: Iterable[str]) -> bool:
    """Whether a file counts as an image by its ending; hidden files never do."""
    base = name.rpartition("/")[2]
    return not base.startswith(".") and os.path.splitext(base)[1].lower() in suffixes
