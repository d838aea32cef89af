"""Where downloads are kept, and whether there may be any."""

import os
from pathlib import Path

CACHE_VARIABLE = "ZOO_CACHE"
OFFLINE_VARIABLE = "ZOO_OFFLINE"
_DEFAULT = "~/.cache/flax-vanilla-zoo"


def cache_home() -> Path:
    """Folder of everything that can be downloaded again: $ZOO_CACHE, else a folder in the home.

    Raises:
      ValueError: if there is no home either.
    """
    given = os.environ.get(CACHE_VARIABLE) or _DEFAULT
    try:
        return Path(os.path.abspath(Path(given).expanduser()))
    except RuntimeError:
        raise ValueError(
            f"there is no home directory for {given}; set {CACHE_VARIABLE} to a folder"
        ) from None


def is_offline() -> bool:
    """Whether $ZOO_OFFLINE forbids every connection; empty and 0 do not."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")
