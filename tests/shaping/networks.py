"""Kernel graphs of the networks that the reference numbers are about, and the reference numbers."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from zoo.shaping import DKS, TAT, GraphBuilder, KernelGraph, ShapedActivation
from zoo.shaping.kernel_maps import jet

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}


def resnet_graph(depth: int, w: float, v2: bool = True) -> KernelGraph:
    """The authors' modified ResNet with shortcut weight w."""
    bottleneck = depth > 34
    per_branch = (3 if bottleneck else 2) - (0 if v2 else 1)
    builder = GraphBuilder()
    x = builder.input
    for stage, blocks in enumerate(BLOCKS[depth]):
        for block in range(blocks):
            y = builder.nonlinear(x)
            projects = v2 and block == 0 and (bottleneck or stage > 0)
            shortcut = y if projects else x
            for _ in range(per_branch - 1):
                y = builder.nonlinear(y)
            x = builder.mix({shortcut: w, y: (1 - w**2) ** 0.5}) if w else y
            x = x if v2 else builder.nonlinear(x)
    return builder.graph(builder.nonlinear(x))


def golden_graph(graph: dict) -> KernelGraph:
    """The graph of a golden case."""
    if graph["kind"] == "vanilla":
        return KernelGraph.chain(graph["n"])
    return resnet_graph(graph["depth"], graph["w"], graph["v2"])


def golden_method(case: dict) -> DKS | TAT:
    """The method of a golden case."""
    names = {
        "c_slope_1_target": "zeta",
        "local_q_slope_target": "q_slope",
        "c_val_0_target": "eta",
        "c_curve_target": "tau",
    }
    options = {names[name]: value for name, value in case["params"].items()}
    return {"DKS": DKS, "TAT": TAT}[case["method"]](case["activation"], **options)


def golden_cases(data_root: Path) -> Iterator[dict]:
    """Cases of the reference implementation, recorded with its parameters and achieved maps."""
    path = data_root.parent / "golden" / "shaping.json"
    if not path.is_file():
        pytest.skip(f"no recorded reference solutions at {path}")
    yield from json.loads(path.read_text())["cases"]


def measured(activation: ShapedActivation) -> dict[str, float]:
    """Conditions of a layer by another, finer quadrature: 40 nodes per unit interval."""
    kink = -activation.input_shift / activation.input_scale
    cuts = np.unique(np.clip(np.append(np.arange(-12.0, 13.0), kink), -12, 12))
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half, middle = np.diff(cuts)[:, None] / 2, (cuts[1:] + cuts[:-1])[:, None] / 2
    x = (middle + half * nodes).ravel()
    density = (half * weights).ravel() * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    f, df, ddf = jet(activation, x)

    def mean(values):
        return float(np.sum(density * values))

    q = mean(f * f)
    return {
        "Q(1)": q,
        "Q'(1)": mean(x * f * df),
        "C(0)": mean(f) ** 2 / q,
        "C'(1)": mean(df * df) / q,
        "C''(1)": mean(ddf * ddf) / q,
    }
