"""Files over HTTP: bounded, resumed, and given their name only when their sha256 is right.

Standard library only. Knows neither weights nor data sets, which say what to fetch and where to.
"""

from zoo.transfer.fetch import (
    FULL_DISK,
    Digest,
    DownloadError,
    OutOfSpaceError,
    fetch,
    read_small,
    storage_error,
)
from zoo.transfer.http import TransferProblem, url_problem
from zoo.transfer.hub import hub_url
from zoo.transfer.places import CACHE_VARIABLE, OFFLINE_VARIABLE, cache_home, is_offline

__all__ = [
    "CACHE_VARIABLE",
    "Digest",
    "DownloadError",
    "FULL_DISK",
    "OFFLINE_VARIABLE",
    "OutOfSpaceError",
    "TransferProblem",
    "cache_home",
    "fetch",
    "hub_url",
    "is_offline",
    "read_small",
    "storage_error",
    "url_problem",
]
