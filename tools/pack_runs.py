"""Packs the runs of a folder into few files that a machine can hand over, and unpacks them.

  python tools/pack_runs.py pack runs/zoo parts          # newest checkpoint, logs, results
  python tools/pack_runs.py unpack parts runs/zoo        # then train on, as if never moved
  python tools/pack_runs.py pack runs/zoo parts --light  # of finished runs, only their result

A run is any folder with a `config.json`, a result or checkpoints; it keeps its path. Unpacking
deletes nothing, and leaves alone a run that is as far or further here.
"""

import argparse
import io
import json
import math
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from zoo.checkpoint import CheckpointError, list_steps, read_record
from zoo.common.console import quiet_pipe
from zoo.training.folder import CONFIG

RESULTS = ("result.json", "failed.json")
_CHECKPOINTS = "checkpoints"
_PART = re.compile(r"runs-\d+-of-\d+\.tar\.gz\.part")
_MEBIBYTE = 1 << 20


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 for a mistake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=["pack", "unpack"])
    parser.add_argument("source", type=Path, help="folder of the runs, or of the parts")
    parser.add_argument("target", type=Path, help="folder to write to, made when absent")
    parser.add_argument("--part-mib", type=float, default=15.0, help="largest size of a part")
    parser.add_argument("--light", action="store_true", help="of finished runs, only the result")
    parser.add_argument("--json", action="store_true", help="one JSON object, last line of stdout")
    given = parser.parse_args(argv)
    try:
        if given.task == "pack":
            size = int(given.part_mib * _MEBIBYTE)
            paths = pack(given.source, given.target, part_bytes=size, light=given.light)
            sizes = [path.stat().st_size for path in paths]
            done = {"parts": [path.name for path in paths], "bytes": sum(sizes)}
        else:
            done = {"runs": unpack(given.source, given.target)}
    except (ValueError, OSError, tarfile.TarError, EOFError) as error:
        print(f"pack_runs: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(done) if given.json else done)
    return 0


def pack(folder: Path, target: Path, *, part_bytes: int, light: bool = False) -> list[Path]:
    """Writes every run below `folder` into parts `runs-K-of-N.tar.gz.part` of at most `part_bytes`.

    Args:
      folder: of the runs; none of them may be training.
      target: folder of the parts; parts of an earlier call are deleted.
      part_bytes: largest size of a part.
      light: of runs with a result, pack nothing but that: enough not to train them again.

    Raises:
      ValueError: if there is no run, or `part_bytes` is not positive.
    """
    if part_bytes < 1:
        raise ValueError(f"parts of {part_bytes} bytes; give a positive size")
    runs = list(_runs(folder))
    if not runs:
        raise ValueError(f"{folder} holds no run; give the folder that was trained in")
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        if _PART.fullmatch(old.name):
            old.unlink()
    with tempfile.TemporaryFile(dir=target) as archive:
        with tarfile.open(fileobj=archive, mode="w|gz") as tar:
            for run in runs:
                for path in _content(run, light=light):
                    tar.add(path, path.relative_to(folder))
        return list(_split(archive, target, part_bytes))


def unpack(parts: Path, folder: Path) -> list[str]:
    """Restores the runs of `pack` below `folder`; returns the paths of those that were taken.

    A run that is as far or further in `folder` stays as it is.

    Raises:
      ValueError: if parts are missing, of several archives, or hold anything but plain files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        with tempfile.TemporaryFile(dir=temporary) as archive:
            for path in _complete(parts):
                archive.write(path.read_bytes())
            archive.seek(0)
            with tarfile.open(fileobj=archive, mode="r|gz") as tar:
                tar.extractall(Path(temporary), filter="data")
        for run in _runs(Path(temporary)):
            name = run.relative_to(temporary)
            if _progress(run) > _progress(folder / name):
                shutil.copytree(run, folder / name, dirs_exist_ok=True)
                taken.append(str(name))
    return taken


def _runs(folder: Path) -> Iterator[Path]:
    """Folders of runs in `folder`, at any depth."""
    marks = (CONFIG, *RESULTS)
    found = {path.parent for mark in marks for path in folder.rglob(mark)}
    yield from sorted(path for path in found if _progress(path) >= 0)


def _content(run: Path, *, light: bool) -> Iterator[Path]:
    """What is packed of a run: its visible files and its newest intact checkpoint."""
    results = [run / name for name in RESULTS if (run / name).exists()]
    if light and results:
        yield from results
        return
    yield from (p for p in sorted(run.iterdir()) if p.is_file() and not p.name.startswith("."))
    step = _newest(run)
    if step is not None:
        yield run / _CHECKPOINTS / str(step)


def _newest(run: Path) -> int | None:
    return read_record(run).step if (run / _CHECKPOINTS).is_dir() and list_steps(run) else None


def _progress(run: Path) -> float:
    """Infinite for a finished run, else its step; -1 where nothing is to go on with."""
    if any((run / name).exists() for name in RESULTS):
        return math.inf
    try:
        step = _newest(run)
    except CheckpointError:
        return -1
    return -1 if step is None else step


def _split(archive: io.BufferedRandom, target: Path, part_bytes: int) -> Iterator[Path]:
    count = math.ceil(archive.tell() / part_bytes)
    archive.seek(0)
    for number in range(1, count + 1):
        path = target / _name(number, count)
        path.write_bytes(archive.read(part_bytes))
        yield path


def _complete(parts: Path) -> list[Path]:
    """The parts of the one archive in a folder, in order.

    Raises:
      ValueError: if there is none, or one is missing.
    """
    found = sorted(path for path in parts.iterdir() if _PART.fullmatch(path.name))
    totals = {path.name.split("-")[3].split(".")[0] for path in found}
    if len(totals) != 1:
        raise ValueError(f"{parts} holds parts of {len(totals)} archives; one is needed")
    count = int(totals.pop())
    missing = {_name(number, count) for number in range(1, count + 1)} - {p.name for p in found}
    if missing:
        raise ValueError(f"{parts} lacks {', '.join(sorted(missing))}; fetch all of them")
    return found


def _name(number: int, count: int) -> str:
    return f"runs-{number:02}-of-{count:02}.tar.gz.part"


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
