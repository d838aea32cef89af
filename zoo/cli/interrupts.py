"""Ctrl-C and SIGTERM are answered within seconds, whatever the main thread is doing.

Python hands a signal to the main thread between two of its instructions, so a compiler or a
library that computes for a minute delays it for as long. A thread of ours hears of the signal at
once, and ends the process where the main thread does not. Neither waits for the interpreter to be
shut down: collecting a large program's garbage and joining threads took 20 s on a busy machine.
Everything on disk is written whole or not at all, so nothing is lost by it.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Self

_ENDS_WITHIN_S = 2.5
# Whoever catches the signal itself, as training does, is saving; after so long it says so.
_SAYS_SO_AFTER_S = 2.0
# Launchers tell every process of a group, and its parent tells it once more.
_SAME_SIGNAL_S = 1.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 75}


class TerminatedError(BaseException):
    """SIGTERM, raised where KeyboardInterrupt would be."""


class PromptEnd:
    """While open, SIGINT and SIGTERM end this process within seconds, or say who takes longer.

    To be opened in the main thread of a process that is ours alone to end.
    """

    def __init__(self) -> None:
        self._received: float | None = None
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def now(self, number: signal.Signals) -> None:
        """Says the sentence of a signal and ends this process."""
        os.write(sys.stderr.fileno(), f"zoo: {sentence(number)}\n".encode())
        os._exit(CODES[number])

    def close(self, code: int) -> None:
        """Ends this process with `code` if a signal came; all is said."""
        if self._received is not None:
            sys.stderr.flush()
            os._exit(code)

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, _terminate), sys.unraisablehook
        sys.unraisablehook = self._unraisable
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        handler, sys.unraisablehook = self._before
        signal.signal(signal.SIGTERM, handler)
        signal.set_wakeup_fd(-1)

    def _unraisable(self, report: Any) -> None:
        # Raised in a callback of the garbage collector (JAX has one) the interrupt is lost.
        if not isinstance(report.exc_value, KeyboardInterrupt | TerminatedError):
            self._before[1](report)

    def _listen(self) -> None:
        while numbers := os.read(self._reading, 64):
            for number in numbers:
                if number in CODES:
                    self._receive(signal.Signals(number))

    def _receive(self, number: signal.Signals) -> None:
        now, first = time.monotonic(), self._received
        if first is not None and now - first < _SAME_SIGNAL_S:
            return
        self._received = now
        caught = signal.getsignal(number) not in (signal.default_int_handler, _terminate)
        if caught and first is None:
            _after(_SAYS_SO_AFTER_S, _say_caught, number)
        else:
            _after(_ENDS_WITHIN_S, self.now, number)


def sentence(number: signal.Signals) -> str:
    """What is said of a process that a signal ended."""
    if number == signal.SIGINT:
        return "interrupted; what was finished is kept, the same command goes on"
    return "stopped by SIGTERM; what was finished is kept, the same command goes on"


def _terminate(number: int, frame: FrameType | None) -> None:
    raise TerminatedError


def _after(seconds: float, do: object, *arguments: object) -> None:
    timer = threading.Timer(seconds, do, arguments)  # pyrefly: ignore[bad-argument-type]
    timer.daemon = True
    timer.start()


def _say_caught(number: signal.Signals) -> None:
    print(
        f"zoo: {number.name}: the state will be saved, then the run ends; again: end at once",
        file=sys.stderr,
        flush=True,
    )
