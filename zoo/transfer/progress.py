"""How far a download is, drawn with rich on standard error of a terminal."""

import sys


class ProgressBar:
    """One bar; nothing is drawn, and rich not imported, where standard error is no terminal.

    Args:
      label: text before the bar.
      total: bytes to come, None if that is not known.
    """

    def __init__(self, label: str, total: int | None = None) -> None:
        self._bar = None
        if not sys.stderr.isatty():
            return
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
        self._task = self._bar.add_task(label, total=total)

    def update(self, count: int) -> None:
        """`count` more bytes are there; negative where some had to be thrown away."""
        if self._bar is not None:
            self._bar.advance(self._task, count)

    def __enter__(self) -> "ProgressBar":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
