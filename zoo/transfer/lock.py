"""A lock that waits: one process of a machine downloads, the others find the result."""

import contextlib
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

WAITING_MESSAGE_EVERY_S = 10.0
_POLL_S = 0.1
_log = logging.getLogger("zoo.transfer")


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Holds the operating system's lock of `path`, which dies with its process.

    Only saves work: where the file system has no locks, everybody goes on at once, so what is done
    under it must come out right without it. The file stays.

    Raises:
      OSError: the file cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o644)
    try:
        _wait(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path) -> None:
    asked = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return
        except BlockingIOError:
            pass
        except OSError:  # no locks here, or no room for the note
            return
        if time.monotonic() - asked > WAITING_MESSAGE_EVERY_S:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            _log.warning("waiting for %s, which holds %s", holder, path)
            asked = time.monotonic()
        time.sleep(_POLL_S)
