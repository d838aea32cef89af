"""A trainer to be killed: `python -m tests.checkpoint.trainer RUN LAST_STEP [KILL_AT]`.

Resumes from the newest step, saves every step up to LAST_STEP, and prints one line per finished
save. With KILL_AT it kills itself with SIGKILL at that call of a file operation; without, it
prints at the end how many calls there were.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from tests.checkpoint.states import abstract, same_bits, state_at
from zoo.checkpoint import RunCheckpoints

WATCHED = ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync", "ftruncate")


def watch(kill_at: int | None) -> list[int]:
    """Counts the calls of `WATCHED`, and dies at number `kill_at`."""
    calls = [0]
    guard = threading.Lock()

    def wrap(function):
        def counted(*args, **kwargs):
            with guard:
                calls[0] += 1
                if calls[0] == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return counted

    for name in WATCHED:
        setattr(os, name, wrap(getattr(os, name)))
    return calls


def main(run: Path, last: int, kill_at: int | None) -> None:
    calls = watch(kill_at)
    with RunCheckpoints(run, keep_last=1, keep_best=1) as checkpoints:
        first = 1
        if checkpoints.latest_step is not None:
            restored = checkpoints.restore(abstract(state_at(0)))
            assert same_bits(restored.state, state_at(restored.step))
            first = restored.step + 1
        print("start", first, flush=True)
        for step in range(first, last + 1):
            # The best is step 2: later ones make retention delete between two kept steps.
            checkpoints.save(step, state_at(step), metrics={"top1": 1 / (1 + abs(step - 2))})
            checkpoints.wait()
            print("saved", step, flush=True)
    print("calls", calls[0], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
