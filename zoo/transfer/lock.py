"""A lock that waits: one process of a machine downloads, the others find the result."""

import contextlib
import fcntl
import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

WAITING_MESSAGE_EVERY_S = 10.0
TIMEOUT_VARIABLE = "ZOO_LOCK_TIMEOUT"
_TIMEOUT_S = 3600.0  # a holder that is stopped, not dead, keeps its lock
_POLL_S = 0.1
_log = logging.getLogger("zoo.transfer")


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Holds the operating system's lock of `path`, which dies with its process.

    Only saves work: where the file system has no locks, everybody goes on at once, and after
    $ZOO_LOCK_TIMEOUT seconds (an hour) of waiting so does this process, so what is done under it
    must come out right without it. The file stays.

    Raises:
      OSError: the file cannot be made.
      ValueError: $ZOO_LOCK_TIMEOUT is no number of seconds.
    """
    timeout_s = _timeout_s()
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o644)
    try:
        _wait(descriptor, path, timeout_s)
        yield
    finally:
        os.close(descriptor)


def _timeout_s() -> float:
    given = os.environ.get(TIMEOUT_VARIABLE) or _TIMEOUT_S
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise ValueError(f"{TIMEOUT_VARIABLE}={given}; give a number of seconds >= 0")
    return seconds


def _wait(descriptor: int, path: Path, timeout_s: float) -> None:
    began = asked = time.monotonic()
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
        if time.monotonic() - began > timeout_s:
            _log.warning("%s was held for %g s; going on without it", path, timeout_s)
            return
        if time.monotonic() - asked > WAITING_MESSAGE_EVERY_S:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
            _log.warning("waiting for %s, which holds %s", holder, path)
            asked = time.monotonic()
        time.sleep(_POLL_S)
