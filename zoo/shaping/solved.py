"""Solved activations on disk, so that a network of known wiring is solved once per machine."""

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from msgspec import Struct

from zoo.common import files
from zoo.common.files import read_bounded
from zoo.common.json_text import as_form, parse_json
from zoo.shaping.activation import ShapedActivation
from zoo.shaping.graph import KernelGraph
from zoo.shaping.methods import DKS, EOC, TAT
from zoo.transfer import cache_home

OPT_OUT_VARIABLE = "ZOO_SOLVED_CACHE"
_MAX_BYTES = 1 << 16
_SOLVER = 1  # raised whenever a solver finds other constants than before


class _Record(Struct):
    activation: dict[str, Any]
    sha256: str


def solve_once(method: DKS | TAT | EOC, graph: KernelGraph) -> ShapedActivation:
    """`method.solve(graph)`, read from the cache folder where it was solved before.

    A file that is damaged or cannot be read is solved anew and replaced; where nothing can be
    written nothing is kept. ZOO_SOLVED_CACHE=0 solves every time.

    Raises:
      NotShapableError, UnreachableTargetError: as `method.solve`; refusals are not kept.
    """
    if graph.unmarked or os.environ.get(OPT_OUT_VARIABLE) == "0":
        return method.solve(graph)
    path = cached_file(method, graph)
    known = _read(path)
    if known is None:
        known = method.solve(graph)
        _write(path, known)
    return known


def cached_file(method: DKS | TAT | EOC, graph: KernelGraph) -> Path:
    """Where the solution for this method and wiring is kept."""
    problem = [_SOLVER, type(method).__name__, dataclasses.asdict(method), graph.hash]
    return cache_home() / "solved" / f"{_digest(problem)}.json"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> ShapedActivation | None:
    try:
        record = as_form(parse_json(read_bounded(path, _MAX_BYTES), _MAX_BYTES), _Record)
        fields = record.activation
        return ShapedActivation(**fields) if record.sha256 == _digest(fields) else None
    except (OSError, ValueError, TypeError):  # also a field that no activation has
        return None


def _write(path: Path, solved: ShapedActivation) -> None:
    fields = dataclasses.asdict(solved)
    text = json.dumps({"activation": fields, "sha256": _digest(fields)})
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, text)
