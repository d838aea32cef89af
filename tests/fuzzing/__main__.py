"""`python -m tests.fuzzing [NAME ...]`: the promise of every reader, on many more contents.

Prints a line for each format: contents, the slowest, the memory it took; then every distinct
failure with the shortest content that shows it. The histories of a run directory follow. Exits
with 1 if anything fails.

  --examples N --seeds K   N contents of each format, and the histories, for each of K seeds
  --minutes M              as many as fit, guided by coverage where atheris is installed
"""

import argparse
import contextlib
import functools
import importlib.util
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.fuzzing.contract import MOST_BYTES, Format, property_of, require_total


class _Tally:
    """What one format's reader did with its contents."""

    def __init__(self) -> None:
        self.contents, self.slowest_s = 0, 0.0
        self.failures: dict[str, bytes] = {}

    def read(self, format: Format, content: bytes, folder: Path) -> None:
        """Reads `content` and notes how it went."""
        started = time.process_time()
        try:
            require_total(format, content, folder)
        # Whatever the promise does not allow is what is looked for.
        except Exception as error:
            key = _kind(error)
            if len(content) < len(self.failures.get(key, content + b"x")):
                self.failures[key] = content
        self.contents += 1
        self.slowest_s = max(self.slowest_s, time.process_time() - started)


def _kind(error: Exception) -> str:
    """Where it came from, so that equal failures count once."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if "/zoo/" in f.filename), frames[-1])
    promise = f" {error}"[:100] if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} {Path(place.filename).name}:{place.lineno}{promise}"


def _fuzz(format: Format, examples: int, seed: int) -> bool:
    tally, before = _Tally(), _peak_bytes()
    with _own_folder() as folder:
        property_of(format, folder, examples, seed, check=tally.read)()
    grown = _peak_bytes() - before
    print(
        f"{format.name}, seed {seed}: {tally.contents:,} contents, {len(tally.failures)} kinds of "
        f"failure, slowest {tally.slowest_s:.2f} s, {grown / 2**20:.0f} MiB more",
        flush=True,
    )
    for place, content in tally.failures.items():
        print(f"  {place}\n    {content[:2000]!r}", flush=True)
    return not tally.failures and grown < MOST_BYTES


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _own_folder():
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ.update(ZOO_OFFLINE="1", ZOO_CACHE=str(Path(folder, "cache")))
        yield Path(folder)


def _fuzz_for(jobs: Mapping[str, Callable[[int], bool]], seconds: float) -> bool:
    """Each job for its share of the time, readers guided by coverage where that is possible."""
    share = max(seconds / len(jobs), 1)
    can_guide = importlib.util.find_spec("atheris") is not None
    readers = {format.name for format in _formats(list(jobs))} if can_guide else set()
    return all([_repeat(name, job, share, name in readers) for name, job in jobs.items()])


def _repeat(name: str, job: Callable[[int], bool], seconds: float, guided: bool) -> bool:
    if guided:
        # In a process of its own: the search ends the process.
        command = [sys.executable, "-m", __package__, name, "--guided", f"{seconds:.0f}"]
        print(f"{name}: guided for {seconds:.0f} s", flush=True)
        return subprocess.run(command, check=False).returncode == 0
    seed, until, right = 0, time.monotonic() + seconds, True
    while time.monotonic() < until:
        seed += 1
        right &= job(seed)
    return right


def _guided(name: str, seconds: int) -> None:
    """Looks for failures by coverage, in this process, which ends with the search."""
    import atheris  # pyrefly: ignore[missing-import] an extra, so it may be absent

    with atheris.instrument_imports(include=["zoo"]):
        (format,) = _formats([name])
    with _own_folder() as folder:
        promise = property_of(format, folder, 1, check=_telling)
        limits = [f"-max_total_time={seconds}", "-max_len=8192", "-len_control=0"]
        files = [f"-artifact_prefix={folder}/", "-verbosity=0", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *limits, *files], promise.hypothesis.fuzz_one_input)
        atheris.Fuzz()


def _telling(format: Format, content: bytes, folder: Path) -> None:
    try:
        require_total(format, content, folder)
    except BaseException as error:
        print(f"{format.name}: {_kind(error)}\n  {content!r}", flush=True)
        raise


def _formats(names: Sequence[str]) -> list[Format]:
    from tests.fuzzing.test_formats import FORMATS

    return [format for format in FORMATS if not names or format.name in names]


def _jobs(names: Sequence[str], examples: int) -> dict[str, Callable[[int], bool]]:
    """What one seed does for each format and for each kind of history that is named."""
    # Not at the top: what is imported before a guided search begins does not guide it.
    from tests.fuzzing.histories import HISTORIES, live

    jobs: dict[str, Callable[[int], bool]] = {
        format.name: functools.partial(_fuzz, format, examples) for format in _formats(names)
    }
    histories = [name for name in HISTORIES if not names or name in names]
    return jobs | {name: functools.partial(live, name) for name in histories}


def main() -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="formats and histories; all when left out")
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--guided", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # of damage that was made here
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", module="PIL")
    if options.guided is not None:
        _guided(*options.names, options.guided)
    jobs = _jobs(options.names, options.examples)
    # Decoders in C write what they think of a file to the standard error.
    with contextlib.redirect_stderr(sys.stdout):
        if options.minutes is not None:
            return 0 if _fuzz_for(jobs, 60 * options.minutes) else 1
        results = [job(seed) for seed in range(options.seeds) for job in jobs.values()]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
