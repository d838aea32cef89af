"""The comparison: every case by every side that there is, in interleaved rounds."""

import contextlib
import dataclasses
import json
import math
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from zoo.bench.cases import CASES, Case
from zoo.bench.sides import PEERS, Answering, Side, SideError, Whole
from zoo.classifier import Classifier, Provenance
from zoo.common.environment import code_commit, library_versions
from zoo.complexity import count_macs
from zoo.data import Preprocessing
from zoo.export import export
from zoo.models import create_model

ROUND_S = 1.0
"""Seconds that a round of one side takes, about."""

ZOO, PYTORCH, DKS = "zoo", "PyTorch", "dks"


def bench(
    cases: Sequence[Case] = CASES,
    *,
    pytorch: str | None = None,
    dks: str | None = None,
    rounds: int = 7,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measures cases, one after the other.

    Args:
      cases: what is done.
      pytorch: a Python that has torch, safetensors and Pillow; None leaves PyTorch out.
      dks: a Python that has DeepMind's dks; None leaves it out.
      rounds: of each side, after one that does not count.
      tell: takes a sentence on how far it is.

    Returns:
      "rows": for each case its name and "sides": for each side "seconds" of one call (median),
      "fastest" and "slowest" round, "memory" (largest resident set in bytes, where the program
      stays), versions; or "missing", why it was not measured. And the hardware, versions, commit.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(Path(folder), pytorch, dks)
        for number, case in enumerate(cases, 1):
            tell(f"{number}/{len(cases)} {case.name}")
            rows.append(measure(case, sides.of(case), rounds))
    return {**machine(), "rounds": rounds, "rows": rows}


def measure(case: Case, sides: Sequence[Side | tuple[str, str]], rounds: int) -> dict[str, Any]:
    """One row: sides take turns; of a side that is not there the reason is kept."""
    found: dict[str, dict[str, Any]] = {side[0]: {"missing": side[1]} for side in _absent(sides)}
    with contextlib.ExitStack() as stack:
        ready: dict[str, tuple[Answering | Whole, int]] = {}
        with ThreadPoolExecutor() as pool:  # compiling is not timed
            opening = {
                side.name: pool.submit(side.open) for side in sides if isinstance(side, Side)
            }
        for name, future in opening.items():
            with _or_missing(found, name):
                opened = stack.enter_context(future.result())
                ready[name] = opened, max(1, math.ceil(ROUND_S / opened.seconds(1)))
        times: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(rounds):
            for name, (side, calls) in ready.items():
                if name not in found:
                    with _or_missing(found, name):
                        times[name].append(side.seconds(calls) / calls)
        for name, (side, _) in ready.items():
            if name not in found:
                found[name] = {
                    "seconds": statistics.median(times[name]),
                    "fastest": min(times[name]),
                    "slowest": max(times[name]),
                    **side.about,
                }
    row = {"name": case.name, "case": dataclasses.asdict(case), "sides": found}
    return row | ({"macs": macs(case)} if case.has_network else {})


def macs(case: Case) -> int:
    """Multiply-accumulates of one image through the case's network."""
    model = create_model(case.arch, abstract=True, **dict(case.options))
    return count_macs(model, (case.image_size, case.image_size, model.config.in_channels))


def _absent(sides: Sequence[Side | tuple[str, str]]) -> list[tuple[str, str]]:
    return [side for side in sides if isinstance(side, tuple)]


@contextlib.contextmanager
def _or_missing(found: dict[str, dict[str, Any]], name: str) -> Iterator[None]:
    """A side that fails is missing from then on, with what it said."""
    try:
        yield
    except SideError as error:
        found[name] = {"missing": str(error)}


class Sides:
    """The programs that do a case; networks are exported once for PyTorch.

    Args:
      folder: for what they need.
      pytorch: a Python that has torch; None without.
      dks: a Python that has dks; None without.
    """

    def __init__(self, folder: Path, pytorch: str | None, dks: str | None) -> None:
        self._folder, self._pytorch, self._dks = folder, pytorch, dks

    def of(self, case: Case) -> list[Side | tuple[str, str]]:
        """Those of one case; a pair of name and reason for one that is not there."""
        if case.kind == "command":
            return self._commands(case)
        return [*self.ours(case), *self._peers(case)]

    @staticmethod
    def ours(case: Case) -> list[Side]:
        """The zoo's own, by each of its kernels."""
        module = [sys.executable, "-m", "zoo.bench.ours", json.dumps(dataclasses.asdict(case))]
        if case.kind == "solve":
            return [Side(ZOO, [*module, "xla"])]
        return [Side(f"{ZOO}, XLA", [*module, "xla"]), Side(f"{ZOO}, oneDNN", [*module, "onednn"])]

    def _peers(self, case: Case) -> list[Side | tuple[str, str]]:
        given = json.dumps(dataclasses.asdict(case))
        if case.kind == "solve":
            if self._dks is None:
                return [(DKS, "no --dks")]
            return [Side(DKS, [self._dks, PEERS / "solver.py", given], is_peer=True)]
        if self._pytorch is None:
            return [(PYTORCH, "no --pytorch")]
        folder = self._exported(case) if case.has_network else self._folder
        command = [self._pytorch, PEERS / "pytorch.py", folder, given]
        return [Side(PYTORCH, command, is_peer=True)]

    def _commands(self, case: Case) -> list[Side | tuple[str, str]]:
        ours, peer = case.arguments
        sides: list[Side | tuple[str, str]] = [
            Side(ZOO, [sys.executable, *map(self._filled, ours)], answers=False)
        ]
        if peer and self._pytorch is None:
            sides.append((PYTORCH, "no --pytorch"))
        elif peer and self._pytorch:
            command = [self._pytorch, *map(self._filled, peer)]
            sides.append(Side(PYTORCH, command, answers=False, is_peer=True))
        return sides

    def _exported(self, case: Case) -> Path:
        """A folder with the case's network, fresh, as PyTorch runs it."""
        from zoo.bench.ours import CLASSES

        told = "-".join(f"{name}_{value}" for name, value in case.options)
        folder = self._folder / f"{case.arch}-{told}-{case.image_size}"
        if not folder.exists():
            network = create_model(case.arch, num_classes=CLASSES, **dict(case.options))
            classes = tuple(map(str, range(CLASSES)))
            images = Preprocessing((case.image_size,) * 2)
            model = Classifier(network, images, classes, Provenance(case.arch))
            export(model, folder, format="torch")
        return folder

    def _filled(self, argument: str) -> str:
        """An argument with the paths in the place of their names."""
        if "{export}" in argument:
            folder = self._folder / "digits"
            if not folder.exists():
                export("vanilla_resnet50_tat_lrelu.digits", folder, format="torch")
            return str(folder)
        if "{picture}" in argument:
            from PIL import Image

            path = self._folder / "picture.png"
            Image.new("L", (8, 8), 128).save(path)
            return str(path)
        return argument.replace("{peers}", str(PEERS))


def machine() -> dict[str, Any]:
    """What decides the numbers beside the code: processor, cores, load, versions, commit."""
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "versions": library_versions(),
        "commit": code_commit(),
    }


def processor_name() -> str:
    """Name of the processor, as Linux knows it where it is Linux."""
    lines = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (lines.read_text().splitlines() if lines.exists() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()
