"""A writer to be killed: `python -m tests.checkpoint.wanderer RUN JOURNAL SEED`.

Saves and goes back at random until it is killed, and writes into the journal what it is about to
do and what is done: "open", "back STEP", "save STEP SEED METRIC", "saved".
"""

import itertools
import random
import sys
from pathlib import Path

from tests.checkpoint.model import KEEP_BEST, KEEP_LAST
from tests.checkpoint.states import abstract, state_at
from zoo.checkpoint import RunCheckpoints


def main(run: Path, journal: Path, seed: int) -> None:
    chance, state = random.Random(seed), abstract(state_at(0))
    with (
        journal.open("a") as file,
        RunCheckpoints(run, keep_last=KEEP_LAST, keep_best=KEEP_BEST) as checkpoints,
    ):
        position = max(checkpoints.steps, default=0)
        print("open", file=file, flush=True)
        for number in itertools.count(1):
            if checkpoints.steps and chance.random() < 0.3:
                position = chance.choice(checkpoints.steps)
                checkpoints.restore(state, position)
                print("back", position, file=file, flush=True)
            position += chance.randint(1, 2)
            made, metric = 1000 * seed + number, chance.choice((0.1, 0.5, 0.9))
            print("save", position, made, metric, file=file, flush=True)
            record = {"seed": made}
            checkpoints.save(position, state_at(made), metrics={"top1": metric}, record=record)
            checkpoints.wait()
            print("saved", file=file, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
