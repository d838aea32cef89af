"""A training run in a process of its own: python -m tests.training.child WORKDIR STEPS."""

import dataclasses
import sys

from tests.training.tiny import BASE, SOLVED
from zoo.training import RunStopped, fit


def main() -> int:
    workdir, steps = sys.argv[1:]
    config = dataclasses.replace(BASE, steps=int(steps))
    try:
        fit(config, workdir, solved=SOLVED)
    except RunStopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
