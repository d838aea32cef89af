"""A parent that stays while the work is done, so that every end has a sentence and an exit code.

JAX aborts a process whose coordinator is gone, or which cannot reach it, from a thread of its own:
nothing in that process can answer. Its parent can.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType

from zoo.processes.errors import RESTART, lost_sentence
from zoo.processes.launch import Launch, joined

_JOINED = b"j"
_FORWARDED = (signal.SIGTERM, signal.SIGINT)
# Seconds after which a process 0 that failed leaves: JAX ends all others when it goes, and they
# may have a sentence of their own to say.
_LAST_TO_LEAVE = 3.0

Work = Callable[[contextlib.AbstractContextManager[bool]], int]


def supervised(launch: Launch, work: Work) -> int:
    """Does `work` in a child of this process; returns the exit code in both of them.

    To be called before a thread is started. SIGTERM and SIGINT are passed on; the child ends when
    its parent is killed.

    Args:
      launch: of this process.
      work: returns the exit code; its argument is `joined` with the others while it is open.
    """
    mine, its = socket.socketpair()
    child = os.fork()
    if child == 0:
        mine.close()
        return _child(launch, work, its)
    its.close()
    status = _wait_for(child)
    with mine:
        mine.setblocking(False)
        try:
            told = mine.recv(2)
        except OSError:  # nothing was written
            told = b""
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    if len(told) == 2:
        return told[1]  # it had its say before JAX ended it
    sentence, code = _verdict(launch, os.WTERMSIG(status), has_joined=told == _JOINED)
    print(f"zoo: {sentence}", file=sys.stderr, flush=True)
    return code


def _child(launch: Launch, work: Work, parent: socket.socket) -> int:
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    try:
        code = work(joined(launch, lambda: parent.sendall(_JOINED)))
    # The top of a process: whatever it was, it must not wait for the others at exit.
    except Exception:
        traceback.print_exc()
        code = 1
    import jax

    if jax.distributed.is_initialized():
        parent.sendall(bytes([code]))
        if launch.process_id == 0:
            time.sleep(_LAST_TO_LEAVE)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _end_with_parent(parent: socket.socket) -> None:
    # The parent never writes: whatever ends this wait, an end of file or a reset, is its death.
    with contextlib.suppress(OSError):
        parent.recv(1)
    os._exit(128 + signal.SIGKILL)


def _wait_for(child: int) -> int:
    """Passes signals on to the child until it ends; returns its status."""

    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        return os.waitpid(child, 0)[1]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _verdict(launch: Launch, number: int, *, has_joined: bool) -> tuple[str, int]:
    """Sentence and exit code for a child that signal `number` ended."""
    again = "start the same command on all of them again"
    if number == signal.SIGABRT and has_joined:
        return f"{launch.name}: {lost_sentence()}", RESTART
    if number == signal.SIGABRT:
        where = f" at {launch.coordinator}" if launch.coordinator else ""
        return (
            f"{launch.name} did not find the others{where} within {launch.join_seconds} s; start "
            "all of them with the same address and count, each with its own number",
            RESTART,
        )
    if number == signal.SIGTERM:
        return f"{launch.name} was stopped before it could save; {again}", RESTART
    name = signal.Signals(number).name
    return f"{launch.name} was ended by {name}; {again}", 128 + number
