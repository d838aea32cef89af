"""Locks of the operating system: they die with their process, and say who holds them.

filelock takes them, closes them in forked children (which would keep them alive after their
parent is killed), and knows whether the process of a marker file still lives.
"""

import contextlib
import datetime
import errno
import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WAITING_MESSAGE_EVERY_S = 10.0
TIMEOUT_VARIABLE = "ZOO_LOCK_TIMEOUT"
_TIMEOUT_S = 3600.0  # a holder that is stopped, not dead, keeps its lock
_POLL_S = 0.1
_UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
_log = logging.getLogger("zoo.common")


class LockHeldError(Exception):
    """Somebody else holds a lock; the text says who, and what to do where nobody can find out."""


def take_lock(path: Path) -> Any:
    """The lock of the file `path`, held until its `release()` is called or this process ends.

    Where the file system has no locks, a marker file `PATH.holder` stands in: it is taken over
    when its process is dead, and has to be removed by hand when its host is another one.

    Raises:
      LockHeldError: another process, or another object of this one, holds it.
      OSError: the file cannot be made.
    """
    import filelock

    marker = path.with_name(f"{path.name}.holder")
    lock, where, hint = _native_lock(path), path, ""
    try:
        try:
            lock.acquire(blocking=False)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            _log.warning(
                "%s: this file system has no locks (%s); %s stands in",
                path, error.strerror, marker.name,
            )  # fmt: skip
            lock = filelock.SoftFileLock(marker, thread_local=False)
            where, hint = marker, f"; if that process is gone, remove {marker}"
            lock.acquire(blocking=False)
    except filelock.Timeout:
        raise LockHeldError(f"{_holder(where)}{hint}") from None
    return lock


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Waits for the lock of the file `path`: one process works, the others find the result.

    Only saves work: where the file system has no locks, everybody goes on at once, and after
    $ZOO_LOCK_TIMEOUT seconds (an hour) of waiting so does this process, so what is done under it
    must come out right without it. The file stays.

    Raises:
      OSError: the file cannot be made.
      ValueError: $ZOO_LOCK_TIMEOUT is no number of seconds.
    """
    lock = _native_lock(path)
    _wait(lock, path, _timeout_s())
    try:
        yield
    finally:
        if lock.is_locked:
            lock.release()


def _native_lock(path: Path) -> Any:
    import filelock

    return filelock.FileLock(
        path, thread_local=False, fallback_to_soft=False, on_acquired=_note_holder
    )


def _note_holder(descriptor: int) -> None:
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = f"process {os.getpid()} on {socket.gethostname()} since {since}"
    with contextlib.suppress(OSError):  # no room for the note: the lock holds without it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _holder(path: Path) -> str:
    """Who holds `path`: our own note, or a marker's lines with process and host."""
    try:
        text = path.read_bytes()[:1000].decode(errors="replace")
    except OSError:
        text = ""
    if text.startswith("process "):
        return text
    lines = text.split("\n")
    return f"process {lines[0]} on {lines[1]}" if len(lines) > 1 else "another process"


def _timeout_s() -> float:
    given = os.environ.get(TIMEOUT_VARIABLE) or _TIMEOUT_S
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise ValueError(f"{TIMEOUT_VARIABLE}={given}; give a number of seconds >= 0")
    return seconds


def _wait(lock: Any, path: Path, timeout_s: float) -> None:
    import filelock

    end = time.monotonic() + timeout_s
    while True:
        left = end - time.monotonic()
        try:
            lock.acquire(
                timeout=max(min(left, WAITING_MESSAGE_EVERY_S), 0.0), poll_interval=_POLL_S
            )
            return
        except filelock.Timeout:
            pass
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return
        if time.monotonic() >= end:
            _log.warning("%s was held for %g s; going on without it", path, timeout_s)
            return
        _log.warning("waiting for %s, which holds %s", _holder(path), path)
