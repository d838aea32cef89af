"""Ends a process that waits for another one for ever."""

import faulthandler
import os
import sys
import threading
import time
from types import TracebackType
from typing import Self

import jax

from zoo.processes.errors import RESTART, lost_sentence
from zoo.processes.launch import Launch, read_launch


def watchdog() -> "Watchdog":
    """The one for a step of this process; one that watches nothing where it is alone."""
    if jax.process_count() == 1:
        return Watchdog(None)
    launch = read_launch() or Launch(None, jax.process_count(), jax.process_index())
    return Watchdog(launch.stall_seconds, launch.name)


class Watchdog:
    """While open, ends this process, at once and with code 75, when nothing has moved for too long.

    It watches from the first `beat` on: compiling, before it, may take any time. A process that is
    dead is noticed by its missing heartbeats; this finds the one that lives but does not come to
    the next step.

    Args:
      seconds: between two calls of `beat`, at most; None never ends anything.
      name: of this process, in words.
    """

    def __init__(self, seconds: float | None, name: str = "this process") -> None:
        self._seconds, self._name = seconds, name
        self._closed = threading.Event()
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed.set()

    def beat(self) -> None:
        """Something has moved."""
        self._moved = time.monotonic()
        if self._seconds is not None and not self._thread.ident:
            self._thread.start()

    def _watch(self) -> None:
        limit = self._seconds or 0.0
        while not self._closed.wait(limit / 20):
            if time.monotonic() - self._moved > limit:
                faulthandler.dump_traceback()
                print(
                    f"zoo: {self._name} has waited for {limit:g} s (ZOO_STALL_SECONDS); "
                    + lost_sentence(),
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(RESTART)
