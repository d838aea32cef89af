"""Tar archives from anywhere, read so that none takes for ever, fills the memory or crashes.

Python's `tarfile` takes sizes as it finds them: a negative one leads it in circles, a huge one
makes it read a header of that size, and a header cut short raises whatever comes of it.
"""

import contextlib
import io
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

# A header that belongs to a member holds its name and times.
_HEADER_MAX_BYTES = 1 << 20
_READS_AFTER_END = 8  # a member that ends early is passed over block by block


class DamagedTarError(ValueError):
    """An archive that cannot be read to its end."""


def members(file: BinaryIO, base: int = 0) -> Iterator[tarfile.TarInfo]:
    """The members of the uncompressed archive that begins at `base` in `file`, one by one.

    Raises:
      DamagedTarError: at the place of the damage.
    """
    with _only_our_error():
        file.seek(base)
        headers: Any = _Headers(file)
        with tarfile.open(fileobj=headers, mode="r:") as tar:
            yield from map(_checked, tar)


def read_members(file: io.BufferedIOBase, sizes: Mapping[str, int], most: int) -> dict[str, bytes]:
    """Contents of the regular members called as in `sizes`, in any folder, and of that size.

    Args:
      file: an archive, read once from here to its end; may unpack while it is read.
      sizes: name without folders -> bytes.
      most: bytes after which no archive of this kind goes on.

    Raises:
      DamagedTarError: it cannot be read to its end, or that does not come.
    """
    contents = {}
    bounded: Any = _Bounded(file, most)
    with _only_our_error(), tarfile.open(fileobj=bounded, mode="r|") as tar:
        for member in map(_checked, tar):
            name = member.name.rpartition("/")[2]
            if member.isreg() and member.size == sizes.get(name):
                stream = tar.extractfile(member)
                contents[name] = b"" if stream is None else stream.read()
    return contents


@contextlib.contextmanager
def _only_our_error() -> Iterator[None]:
    try:
        yield
    # Of a header that ends early `tarfile` reads bytes that are not there, and of numbers in it
    # it makes offsets that no file has; headers about headers it follows as deep as they go.
    except (
        tarfile.TarError, zlib.error, EOFError, ValueError, LookupError, ArithmeticError,
        RecursionError, TypeError,
    ) as error:  # fmt: skip
        raise DamagedTarError(" ".join(str(error).split())[:200] or "it ends early") from error


def _checked(member: tarfile.TarInfo) -> tarfile.TarInfo:
    if member.size < 0:
        raise tarfile.ReadError(f"{member.name[:60]!r} has {member.size} bytes")
    return member


class _Headers:
    """A file of which only headers are read; what lies between is passed over."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int) -> bytes:
        if not 0 <= count <= _HEADER_MAX_BYTES:
            raise tarfile.ReadError(f"a header of {count} bytes")
        return self._file.read(count)


class _Bounded:
    """A stream that ends with an error after `most` bytes, and when its end is read on and on."""

    def __init__(self, file: io.BufferedIOBase, most: int) -> None:
        self._file, self._left, self._after_end = file, most, 0

    def read(self, count: int) -> bytes:
        block = self._file.read(count)
        self._left -= len(block)
        self._after_end += not block
        if self._left < 0 or self._after_end > _READS_AFTER_END:
            raise tarfile.ReadError(
                "it ends early" if self._after_end else "it is larger than any of its kind"
            )
        return block
