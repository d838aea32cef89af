"""Downloads under way: each in a folder of its own, which whoever comes next may go on with."""

import contextlib
import os
import socket
import time
import uuid
from pathlib import Path

from zoo.common.locks import waiting_lock
from zoo.pretrained.cache import (
    CachedWeight,
    Pin,
    cache_folder,
    entries,
    incoming,
    list_cached,
    remove,
)
from zoo.pretrained.origins import forget_origins
from zoo.transfer import storage_error

_FREE = "free"
_FORGOTTEN_S = 7 * 24 * 3600


def weight_lock(pin: Pin) -> contextlib.AbstractContextManager[None]:
    """The lock under which `pin` is downloaded: one process of a machine at a time."""
    incoming().mkdir(parents=True, exist_ok=True)
    return waiting_lock(incoming() / f"{pin.folder.name}.lock")


def claim_staging(pin: Pin) -> Path:
    """A folder in which only this caller writes, with what an interrupted download left behind.

    Renaming is atomic: of two who claim the same leftovers, one gets them. Leftovers that nobody
    wanted for a week are removed.
    """
    staging = _named(pin.folder.name, f"{os.getpid()}-{_unique()}-{socket.gethostname()}")
    for left in _abandoned():
        # Another process may be faster in claiming it.
        with contextlib.suppress(FileNotFoundError):
            if left.name.startswith(f"{pin.folder.name}.") and not staging.exists():
                os.rename(left, staging)
            elif time.time() - left.stat().st_mtime > _FORGOTTEN_S:
                remove(left)
    for folder in (staging / "files", staging / "parts"):
        folder.mkdir(parents=True, exist_ok=True)
    return staging


def release_staging(pin: Pin, staging: Path) -> None:
    """Leaves an interrupted download for whoever goes on with it."""
    os.rename(staging, _free(pin))


def remove_cached(id: str | None = None) -> list[CachedWeight]:
    """Removes a weight, or all, with what is left of unfinished downloads; returns them.

    A folder is renamed before its files go, so that nobody ever finds half of it.

    Raises:
      ValueError: if nothing is called `id`, or the cache cannot be written.
    """
    found = [weight for weight in list_cached() if id in (None, weight.id)]
    debris = [path for path in _abandoned() if id in (None, path.name.partition("@")[0])]
    if id is not None and not found and not debris:
        raise ValueError(f"no {id!r} in {cache_folder()}; see: zoo cache list")
    try:
        forget_origins(id)
        incoming().mkdir(parents=True, exist_ok=True)
        for weight in found:
            debris.append(_named(weight.folder.name, f"{_FREE}-{_unique()}"))
            os.rename(weight.folder, debris[-1])
        for path in debris:
            remove(path)
    except OSError as error:
        raise storage_error(error, cache_folder()) from error
    return found


def _named(weight: str, owner: str) -> Path:
    return incoming() / f"{weight}.{owner}"


def _free(pin: Pin) -> Path:
    return _named(pin.folder.name, f"{_FREE}-{_unique()}")


def _unique() -> str:
    return uuid.uuid4().hex[:8]


def _abandoned() -> list[Path]:
    """Folders nobody writes into: given up, or their process on this host is dead."""
    folders = (path for path in entries(incoming()) if path.is_dir() and not path.is_symlink())
    return [path for path in folders if _is_abandoned(path)]


def _is_abandoned(staging: Path) -> bool:
    # The owner follows ID@SHA256 and a dot; the host comes last, for it may hold any character.
    owner = staging.name.partition("@")[2][65:]
    pid, _, rest = owner.partition("-")
    if pid == _FREE:
        return True
    # Ten digits and more are nobody's number, and none that `kill` takes.
    if (
        rest.partition("-")[2] != socket.gethostname()
        or not 0 < len(pid) < 10
        or not pid.isdecimal()
    ):
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
