"""Measures cosines for the whole table of methods and networks, and writes docs/theory.json.

  python -m tools.theory --workdir runs/theory   # again and again
  python -m tools.pages theory

It goes on where it was stopped, block by block of draws, and writes the results when all blocks are
there.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # read when numpy is imported

import numpy as np  # noqa: E402

from tools.theory.measuring import COSINES, Prediction, measure, predictions  # noqa: E402
from zoo.common import files  # noqa: E402
from zoo.common.console import quiet_pipe, watched  # noqa: E402
from zoo.models.blocks import BLOCKS_PER_STAGE  # noqa: E402
from zoo.shaping import ShapedActivation  # noqa: E402
from zoo.training.folder import environment  # noqa: E402

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "theory.json"
SHORTCUT_WEIGHTS = (0.0, 0.3, 0.5, 0.8, 0.95)
WIDTHS = (1.0, 2.0, 4.0)
BLOCK = 16  # draws of the weights that are measured together
_ENVIRONMENT = ("commit", "python", "versions", "devices", "cpus")


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 1 when blocks are still to be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", type=Path, default=Path("runs/theory"), help="of the blocks")
    parser.add_argument("--draws", type=int, default=32, help=f"a multiple of {BLOCK}")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the results")
    arguments = parser.parse_args(argv)
    missing = _measure(arguments.workdir, arguments.draws, arguments.minutes)
    if missing:
        print(f"{missing} blocks are still to be measured; run the same command again")
        return 1
    files.write(arguments.out, _collected(arguments.workdir, arguments.draws))
    return 0


def _networks() -> list[tuple[int, float]]:
    return [(depth, w) for depth in BLOCKS_PER_STAGE for w in SHORTCUT_WEIGHTS]


def _measure(workdir: Path, draws: int, minutes: float) -> int:
    """Number of blocks that are still missing when the time is over."""
    workdir.mkdir(parents=True, exist_ok=True)
    order = [(b, n, width) for b in range(draws // BLOCK) for n in _networks() for width in WIDTHS]
    todo = [one for one in order if not _block_file(workdir, *one).exists()]
    start, known, done = time.monotonic(), {}, 0
    for block, network, width in watched(todo, "measuring", len(todo), True):
        if time.monotonic() - start > 60 * minutes:
            break
        if network not in known:
            known = {network: _predicted(workdir, network)}
        began = time.process_time()
        activations = [one.activation for one in known[network]]
        cosines = measure(*network, width, activations, BLOCK, block)
        path = _block_file(workdir, block, network, width)
        with files.appearing(path) as partial:
            np.savez(partial, cosines=cosines, cpu_seconds=time.process_time() - began)
        done += 1
    return len(todo) - done


def _block_file(workdir: Path, block: int, network: tuple[int, float], width: float) -> Path:
    return workdir / f"resnet{network[0]}_w{network[1]:g}_x{width:g}_{block}.npz"


def _predicted(workdir: Path, network: tuple[int, float]) -> list[Prediction]:
    """From the file that is written when they are first asked for."""
    path = workdir / f"resnet{network[0]}_w{network[1]:g}.json"
    if not path.exists():
        found = [dataclasses.asdict(one) for one in predictions(*network)]
        files.write(path, json.dumps(found))
    return [
        Prediction(one["method"], ShapedActivation(**one["activation"]), tuple(one["cosines"]))
        for one in json.loads(path.read_text())
    ]


def _collected(workdir: Path, draws: int) -> str:
    """The results as JSON, one row a line."""
    rows, seconds = [], 0.0
    for network in _networks():
        found = []
        for width in WIDTHS:
            blocks = [
                np.load(_block_file(workdir, b, network, width)) for b in range(draws // BLOCK)
            ]
            seconds += sum(float(block["cpu_seconds"]) for block in blocks)
            cosines = np.concatenate([block["cosines"] for block in blocks], axis=1)
            error = np.std(cosines, axis=1, ddof=1) / draws**0.5
            found.append(np.stack([np.mean(cosines, axis=1), error], -1))
        for one, values in zip(_predicted(workdir, network), np.stack(found, 2), strict=True):
            for start, end, measured in zip(COSINES, one.cosines, values, strict=True):
                pairs = [[round(float(x), 6) for x in pair] for pair in measured]
                rows.append(
                    [
                        one.method,
                        one.activation.phi,
                        *network,
                        start,
                        round(end, 6),
                        *sum(pairs, []),
                    ]
                )
    measured = [f"{what} x{width:g}" for width in WIDTHS for what in ("mean", "error")]
    record = {
        "command": "python -m tools.theory",
        "environment": {name: environment()[name] for name in _ENVIRONMENT},
        "cpu_seconds": round(seconds),
        "draws": draws,
        "widths": WIDTHS,
        "columns": ["method", "activation", "depth", "w", "start", "predicted", *measured],
    }
    head = json.dumps(record, indent=1).removesuffix("\n}")
    return head + ',\n "rows": [\n' + ",\n".join(map(json.dumps, rows)) + "\n]}\n"


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
