"""Files that others may have put there: opened without waiting, following or reading for ever."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


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
