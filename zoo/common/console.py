"""What is said on standard error while something takes long: bars, lines, durations."""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

T = TypeVar("T")
FIRST_LINE_S, SECONDS_BETWEEN_LINES = 2.0, 10.0
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


class Progress:
    """How far something is: a bar on a terminal, elsewhere a line after 2 s and every 10 s.

    rich is imported where there is a terminal only.

    Args:
      label: what is being done.
      total: how much there is to do; None if that is not known.
      done: how much of it was done before.
      in_bytes: whether bytes are counted.
      shown: False shows nothing at all.
      lines: whether there are lines where there is no terminal.
      stays: whether the bar is left on the terminal, with the time it took.
    """

    def __init__(
        self,
        label: str,
        total: int | None = None,
        *,
        done: int = 0,
        in_bytes: bool = False,
        shown: bool = True,
        lines: bool = True,
        stays: bool = False,
    ) -> None:
        self._label, self._total, self._done = label, total, done
        self._started = time.monotonic()
        self._next_line = self._started + FIRST_LINE_S
        is_terminal = sys.stderr.isatty()
        self._prints = shown and lines and not is_terminal
        self._bar = _bar(in_bytes, stays) if shown and is_terminal else None
        if self._bar is not None:
            self._task = self._bar.add_task(label, total=total, completed=done, note="")

    def advance(self, count: int = 1) -> None:
        """`count` more are done; a negative number takes them back."""
        self.reach(self._done + count)

    def reach(self, done: int, *, note: str | None = None) -> None:
        """`done` are done in all; `note` stands behind the bar from now on."""
        self._done = done
        if self._bar is not None:
            more = {} if note is None else {"note": note}
            self._bar.update(self._task, completed=done, **more)
        elif time.monotonic() >= self._next_line:
            self.line()

    def begin(self, label: str, total: int) -> None:
        """The next of several parts begins."""
        self._label, self._total, self._done = label, total, 0
        if self._bar is not None:
            self._bar.reset(self._task, total=total, description=label)

    def say(self, text: str) -> None:
        """Prints a sentence, above the bar where there is one."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def line(self) -> None:
        """Prints how far it is, where there is no terminal."""
        if not self._prints:
            return
        now = time.monotonic()
        self._next_line = now + SECONDS_BETWEEN_LINES
        total = "" if self._total is None else f"/{self._total:,}"
        self.say(f"{self._label}: {self._done:,}{total}, {now - self._started:.0f} s")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class Working:
    """Says what is being done, after two seconds and every ten; for what has no parts to count.

    with Working("compiling the step"):
        ...
    """

    def __init__(self, label: str, *, shown: bool = True) -> None:
        self._label, self._shown, self._done = label, shown, threading.Event()

    def _say(self) -> None:
        started, wait = time.monotonic(), FIRST_LINE_S
        while not self._done.wait(wait):
            seconds = time.monotonic() - started
            print(f"{self._label} ... {seconds:.0f} s", file=sys.stderr, flush=True)
            wait = SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        if self._shown:
            threading.Thread(target=self._say, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()


def watched(items: Iterable[T], label: str, count: int, shown: bool) -> Iterator[T]:
    """The `count` items as they are, with `Progress` if `shown`."""
    with Progress(label, count, shown=shown) as progress:
        for item in items:
            yield item
            progress.advance()


def quiet_pipe(main: Callable[[], int | None]) -> int:
    """Runs a program; a reader of its output that leaves early (`| head`) is no error.

    Returns:
      Its exit code.
    """
    try:
        try:
            return main() or 0
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse_duration(text: str) -> float:
    """Seconds of a duration such as "540", "540s", "9m" or "1.5h".

    Raises:
      ValueError: if `text` is nothing of this kind.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise ValueError(f"duration {text!r}; give a number and s, m or h, such as 9m")
    return float(match[1]) * _UNITS[match[2]]


def duration(seconds: float) -> str:
    """A duration in words, for instance "45 s", "9 min" or "1.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def byte_count(count: float) -> str:
    """A number of bytes in words, for instance "812 B", "94.3 MB" or "1.2 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def _bar(in_bytes: bool, stays: bool) -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn() if in_bytes else MofNCompleteColumn(),
        *([TimeElapsedColumn()] if stays else []),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=not stays,
    )
