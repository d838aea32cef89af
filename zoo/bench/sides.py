"""A side of a comparison: a program that makes calls when it is told to, and says how long it took.

Sides of one case are warm at the same time and take turns, A B A B, so that what else the machine
does meets them all.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

PEERS = Path(__file__).parent / "peers"
# What `import zoo` tells glibc, so that the allocator is the same on both sides.
_SAME_ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
}
_LAST_WORDS = 400  # characters of what a program said before it failed


class SideError(ValueError):
    """A side cannot be had here, or its program failed."""


@dataclasses.dataclass(frozen=True)
class Side:
    """A program that can be started.

    Attributes:
      name: column of the table.
      command: the program and its arguments.
      answers: whether it stays and answers rounds (`peers.rounds`); otherwise a call is the whole
        program, from its start to its end.
      is_peer: whether it is another project's, and gets our settings of the allocator.
    """

    name: str
    command: Sequence[str | Path]
    answers: bool = True
    is_peer: bool = False

    def open(self) -> "Answering | Whole":
        """Starts it.

        Raises:
          SideError: with what it said, if it fails before it is ready.
        """
        environment = os.environ | (_SAME_ALLOCATOR if self.is_peer else {})
        return (Answering if self.answers else Whole)(self, environment)


class Answering:
    """A program that stays."""

    def __init__(self, side: Side, environment: Mapping[str, str]) -> None:
        self._side = side
        # A file: a pipe that nobody reads would stop a program that says much.
        self._words = tempfile.TemporaryFile("w+", errors="replace")
        self._process = subprocess.Popen(
            [*map(str, side.command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            env=dict(environment),
        )
        try:
            self.about = self._read()
        except SideError:
            self.__exit__()
            raise

    def seconds(self, calls: int) -> float:
        """Wall time of so many calls.

        Raises:
          SideError: the program ended.
        """
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # what it said is read below
            self._process.stdin.write(f"{calls}\n")
            self._process.stdin.flush()
        answer = self._read()
        self.about["memory"] = answer["memory"]
        return answer["seconds"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            self._words.seek(0)
            said = " ".join((line + self._words.read()).split())[-_LAST_WORDS:]
            raise SideError(f"{self._side.name} ended: {said}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._words.close()


class Whole:
    """A program that is started anew for each call."""

    def __init__(self, side: Side, environment: Mapping[str, str]) -> None:
        self._side, self._environment = side, dict(environment)
        self.about: dict[str, Any] = {}
        self.seconds(1)

    def seconds(self, calls: int) -> float:
        """Wall time of so many runs, one after the other."""
        started = time.perf_counter()
        for _ in range(calls):
            done = subprocess.run(
                [*map(str, self._side.command)],
                capture_output=True,
                text=True,
                env=self._environment,
                check=False,
            )
            if done.returncode:
                said = " ".join(done.stderr.split())[-_LAST_WORDS:]
                raise SideError(f"{self._side.name} ended with {done.returncode}: {said}")
        return time.perf_counter() - started

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass
