"""Downloading a data set's archive from its official home, checked before it gets its name."""

import os
from pathlib import Path
from typing import Any

OFFLINE_VARIABLE = "ZOO_OFFLINE"
DATA_DIR_VARIABLE = "ZOO_DATA_DIR"

_TIMEOUT_SECONDS = 30
_RETRIES = 2


def default_data_dir() -> Path:
    """Folder of downloaded data sets: $ZOO_DATA_DIR, else ~/.cache/flax-vanilla-zoo/data."""
    given = os.environ.get(DATA_DIR_VARIABLE)
    path = Path(given) if given else Path("~/.cache/flax-vanilla-zoo/data")
    return path.expanduser().resolve()


def fetch(url: str, sha256: str, target: Path, *, instead: str) -> None:
    """Download `url` to `target`, which comes into being whole and with the right hash or not.

    Args:
      url: address of the file.
      sha256: hex digest the content must have.
      target: path of the file; its folder is made.
      instead: what the user can do by hand, for the error message.

    Raises:
      ValueError: if $ZOO_OFFLINE is set, the folder cannot be written, the address cannot be
        reached or the content is not the expected one.
    """
    absent = f"{target.name} is not in {target.parent}"
    if os.environ.get(OFFLINE_VARIABLE):
        raise ValueError(f"{absent} and {OFFLINE_VARIABLE} is set; {instead}")
    try:
        import pooch
        import requests
    except ImportError as error:
        raise ValueError(
            f"{absent} and downloading needs pooch (pip install pooch); {instead}"
        ) from error
    files = pooch.create(
        target.parent,
        base_url="",
        registry={target.name: f"sha256:{sha256}"},
        urls={target.name: url},
        retry_if_failed=_RETRIES,
    )
    # Pooch announces every download on its own; the progress bar and the errors say it all.
    pooch.get_logger().setLevel("ERROR")
    downloader: Any = pooch.HTTPDownloader(
        timeout=_TIMEOUT_SECONDS, progressbar=_ProgressBar(target.name)
    )
    try:
        files.fetch(target.name, downloader=downloader)
    except (OSError, requests.RequestException) as error:
        reason = type(error).__name__ if isinstance(error, requests.RequestException) else error
        raise ValueError(
            f"{absent} and could not be downloaded from {url} ({reason}); {instead}"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"what {url} sent is not the expected file (sha256 differs from {sha256}); {instead}"
        ) from error


class _ProgressBar:
    """What pooch asks of a progress bar, drawn with rich on standard error."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

        self._bar = Progress(
            "{task.description}",
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(label, total=None)
        self.total: int | None = None

    def update(self, n: int) -> None:
        self._bar.start()
        self._bar.update(self._task, advance=n, total=self.total)

    def reset(self) -> None:
        self._bar.reset(self._task)

    def close(self) -> None:
        self._bar.stop()
