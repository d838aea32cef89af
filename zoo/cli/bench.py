"""`zoo bench`: how fast the zoo is here, beside its peers."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from zoo.cli.commands import Command
from zoo.cli.text import Output, aligned

_PYTORCH_HELP = "a Python that has torch, safetensors and Pillow: PyTorch is measured beside us"
_DKS_HELP = "a Python that has DeepMind's dks: its solver is measured beside ours"
_ONLY_HELP = "cases whose names hold one of these words; none: all"
_MODELS_HELP = "measure the networks whose ids match, each alone, in place of the comparison"
_CSV_HELP = "write the rows of --models to this file"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench(Command):
    """Time training, inference, solving and starting, beside peers in the same run.

    Sides take turns (A B A B) while both are warm; medians of the rounds. Nothing else should run.

    $ zoo bench
    $ zoo bench --pytorch ~/torch/bin/python --dks ~/dks/bin/python --out docs/benchmarks.json
    $ zoo bench --only train --rounds 3
    $ zoo bench --models "vanilla*tat*" --csv speed.csv --image-size 224 --batch 8
    """

    pytorch: Annotated[str | None, arg(help=_PYTORCH_HELP)] = None
    dks: Annotated[str | None, arg(help=_DKS_HELP)] = None
    only: Annotated[tuple[str, ...], arg(help=_ONLY_HELP)] = ()
    rounds: Annotated[int, arg(help="of each side, after one that does not count")] = 7
    out: Annotated[str | None, arg(help="write the results to this file, JSON")] = None
    models: Annotated[str | None, arg(help=_MODELS_HELP)] = None
    csv: Annotated[str | None, arg(help=_CSV_HELP)] = None
    image_size: Annotated[int, arg(help="of --models: side in pixels")] = 224
    batch: Annotated[int, arg(help="of --models: images")] = 8
    dtype: Annotated[Literal["float32", "bfloat16"], arg(help="of --models")] = "float32"


def bench(command: Bench) -> Output:
    """The table of the comparison, or that of many networks."""
    if command.rounds < 1:
        raise ValueError(f"--rounds {command.rounds}; give a whole number above 0")
    return _models(command) if command.models is not None else _compared(command)


def _compared(command: Bench) -> Output:
    import json

    from zoo.bench import CASES, bench
    from zoo.common import files

    cases = [
        case for case in CASES
        if not command.only or any(word in case.name for word in command.only)
    ]  # fmt: skip
    if not cases:
        names = "; ".join(case.name for case in CASES)
        raise ValueError(f"--only {' '.join(command.only)} is in no name; they are: {names}")
    for name in ("pytorch", "dks"):
        python = getattr(command, name)
        if python is not None and not Path(python).expanduser().is_file():
            raise ValueError(f"--{name} {python} is no file; give the Python of that environment")
    found = bench(
        cases, pytorch=command.pytorch, dks=command.dks, rounds=command.rounds, tell=_tell
    )
    if command.out is not None:
        files.write(Path(command.out).expanduser(), json.dumps(found, indent=1) + "\n")
    rows = [
        [row["name"], name, _time(side), _range(side)]
        for row in found["rows"]
        for name, side in row["sides"].items()
    ]
    lines = aligned(("what", "by", "a call", "from, to"), rows, right=(2,))
    told = f"{found['processor']}, {found['cores']} cores, load {found['load']:.1f}"
    return Output(found, [*lines, f"medians of {command.rounds} rounds; {told}"])


def _models(command: Bench) -> Output:
    from zoo.bench.catalogue import COLUMNS, as_csv, measure_models
    from zoo.common import files
    from zoo.models import list_models

    archs = list_models(command.models or "*")
    if not archs:
        raise ValueError(f"no network matches {command.models!r}; all: zoo list")
    rows = measure_models(
        archs,
        image_size=command.image_size,
        batch=command.batch,
        dtype=command.dtype,
        rounds=command.rounds,
        tell=_tell,
    )
    if command.csv is not None:
        files.write(Path(command.csv).expanduser(), as_csv(rows))
    cells = [[str(row[column]) for column in COLUMNS] for row in rows]
    return Output(rows, aligned(COLUMNS, cells, right=tuple(range(1, len(COLUMNS)))))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _time(side: dict[str, Any]) -> str:
    if "missing" in side:
        return "-"
    return f"{1000 * side['seconds']:,.1f} ms"


def _range(side: dict[str, Any]) -> str:
    if "missing" in side:
        return side["missing"]
    return f"{1000 * side['fastest']:,.1f}, {1000 * side['slowest']:,.1f}"
