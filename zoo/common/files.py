"""Files that are there whole or not at all, and the digests that say what is in them.

Files that others may have put there are opened without waiting, following or reading for ever.
"""

import contextlib
import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK_BYTES = 1 << 20


@contextlib.contextmanager
def appearing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """A hidden path beside `path`, with its suffix, which takes its name when the block is done.

    What was at `path` is replaced in one step: a reader finds the old file or the new one, never a
    part. After an error nothing is left.

    Args:
      path: of the file, in an existing folder.
      durable: also force the file and its name to the disk, so that the same holds after a power
        cut.
    """
    path = Path(path)
    unique = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
    partial = path.with_name(f".{path.stem}.{unique}.partial{path.suffix}")
    try:
        yield partial
        if durable:
            sync(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)
        sync(path.parent.parent)


def write(path: str | Path, content: str | bytes, *, durable: bool = False) -> None:
    """Puts `content` (text as UTF-8) in the place of the file at `path`, as `appearing` does.

    Text read with `errors="surrogateescape"` is written back as the bytes it was.
    """
    raw = content if isinstance(content, bytes) else content.encode(errors="surrogateescape")
    with appearing(path, durable=durable) as partial:
        partial.write_bytes(raw)


def digest_of(content: bytes) -> dict[str, Any]:
    """Size and sha256 of `content`: `{"bytes": 115, "sha256": "4f..."}`."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def file_digest(path: Path) -> dict[str, Any]:
    """`digest_of` what the regular file at `path` holds; -1 bytes where it cannot be read.

    `O_NOFOLLOW` and `O_NONBLOCK` guard against a swap for a link or a pipe.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        return {"bytes": -1, "sha256": f"unreadable: {error.strerror}"}
    digest, size = hashlib.sha256(), 0
    with open(descriptor, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


def sync(path: Path) -> None:
    """Forces a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes `path` and what is missing above it, so that a power cut does not take them away.

    The folder above it may just have been made too, by someone who does not wait for the disk;
    those further up may belong to others, and need not let themselves be opened.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in dict.fromkeys((*path.parents[:2], *(folder.parent for folder in missing))):
        with contextlib.suppress(OSError):
            sync(folder)


def sync_tree(directory: Path) -> None:
    """Forces every file and folder below `directory`, and its own entry, to the disk."""
    for folder, _, names in os.walk(directory):
        for name in names:
            sync(Path(folder) / name)
        sync(Path(folder))
    sync(directory.parent)


def expanded(path: str | Path) -> Path:
    """`path` with a leading `~` replaced; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError):
        return Path(path)


def open_regular(path: Path, *, follow: bool = False) -> BinaryIO:
    """The file at `path`, opened for reading.

    Args:
      path: of a regular file; folders, pipes and devices are refused.
      follow: whether `path` may be a link to one.

    Raises:
      FileNotFoundError: there is nothing.
      OSError: it is something else, which `strerror` says, or it cannot be read.
    """
    # Without O_NONBLOCK the opening of a pipe waits for its other end.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "a link, not a regular file", str(path)) from None
    except ValueError as error:  # a NUL in the name
        raise FileNotFoundError(errno.ENOENT, str(error), str(path)) from None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_bounded(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """The bytes of `path`, one more than `limit` where there are more.

    Raises:
      OSError: as `open_regular`.
    """
    with open_regular(path, follow=follow) as file:
        return file.read(limit + 1)
