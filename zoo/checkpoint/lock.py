"""One writer per run directory: an operating-system lock that dies with its process."""

import datetime
import errno
import fcntl
import logging
import os
import socket
import weakref
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from zoo.checkpoint.errors import RunInUseError
from zoo.common.files import read_bounded
from zoo.common.json_text import JsonError, as_form, parse_json

LOCK_NAME = ".lock"
_NOTE_BYTES = 4096
_LOCKING_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
_log = logging.getLogger("zoo.checkpoint")


class _Holder(Struct):
    pid: Annotated[int, Meta(ge=1, lt=2**31)]
    host: str
    since: str


class RunLock:
    """Exclusive lock of a run directory, held from `acquire` to `release`.

    Where the file system has no locks, a marker file naming the holder stands in: it is taken
    over when its process is dead, and has to be removed by hand when its host is another one.
    """

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._path = run_dir / LOCK_NAME
        self._marker: Path | None = None
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
          RunInUseError: another process, or another object of this one, holds it.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise self._in_use(_read_holder(self._path)) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _LOCKING_UNSUPPORTED:
                raise
            self._take_marker(error)
            return
        self._descriptor = descriptor
        _held.add(self)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _holder_text())

    def release(self) -> None:
        """Gives the lock back; does nothing when it is not held."""
        self._close()
        if self._marker is not None:
            self._marker.unlink(missing_ok=True)
            self._marker = None

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        _held.discard(self)

    def _take_marker(self, error: OSError) -> None:
        marker = self._path.with_name(LOCK_NAME + ".holder")
        _log.warning(
            "%s: this file system has no locks (%s); %s marks the run as taken instead",
            self._run_dir,
            error.strerror,
            marker.name,
        )
        if marker.exists() and _is_dead(_read_holder(marker)):
            # Renaming lets one of two newcomers win: the other finds nothing to rename.
            stale = marker.with_name(f"{marker.name}.stale-{os.getpid()}")
            os.rename(marker, stale)
            stale.unlink()
        try:
            descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            hint = f"; if that process is gone, remove {marker}"
            raise self._in_use(_read_holder(marker), hint) from None
        os.write(descriptor, _holder_text())
        os.close(descriptor)
        self._marker = marker

    def _in_use(self, holder: _Holder | None, hint: str = "") -> RunInUseError:
        who = (
            f"process {holder.pid} on {holder.host} since {holder.since}"
            if holder
            else "another process"
        )
        return RunInUseError(
            f"run directory {self._run_dir} is in use by {who}; wait for it to end or train into "
            f"another directory{hint}"
        )


# A forked child would keep the lock alive after its parent is killed, so it closes its copy.
_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _close_in_child() -> None:
    for lock in list(_held):
        lock._close()


os.register_at_fork(after_in_child=_close_in_child)


def _holder_text() -> bytes:
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return msgspec.json.encode(_Holder(os.getpid(), socket.gethostname(), since))


def _read_holder(path: Path) -> _Holder | None:
    try:
        return as_form(parse_json(read_bounded(path, _NOTE_BYTES), _NOTE_BYTES), _Holder)
    except (OSError, JsonError):
        return None


def _is_dead(holder: _Holder | None) -> bool:
    if holder is None or holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
