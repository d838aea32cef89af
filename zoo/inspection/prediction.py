"""What the kernel maps predict at each tap of a network: q, cosine, and slope of the C map.

The maps are those of the limit of infinite width. Cosines are predicted for unit q values.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import Chebyshev

from zoo.shaping import KernelGraph, ShapedActivation, c_map, c_slope, q_map
from zoo.shaping.graph import Mix, Nonlinear
from zoo.shaping.kernel_maps import Nonlinearity

_CHEBYSHEV_DEGREE = 48

Local = Callable[[Nonlinearity, np.ndarray], np.ndarray]


class Maps:
    """Predictions for a network whose marked activation is `activation`.

    Chains share their beginnings, so each local map is evaluated once for each value.
    """

    def __init__(self, activation: ShapedActivation | None) -> None:
        self._activation = activation
        self._known: dict[tuple[Any, ...], np.ndarray] = {}

    def cosine(self, graph: KernelGraph, c: np.ndarray | float) -> np.ndarray:
        """Cosine at the end of `graph` for cosines `c` of its inputs."""
        return self._sweep(graph, np.asarray(c, np.float64), lambda f, x: _c_map(f)(x), "c")

    def q(self, graph: KernelGraph, q: float) -> float:
        """q value at the end of `graph` for inputs of q value `q`."""
        return float(self._sweep(graph, np.asarray(q, np.float64), q_map, "q"))

    def slope(self, graph: KernelGraph) -> float:
        """C_f'(1) of `graph` as a whole; infinite where an activation jumps."""
        one = np.ones(())
        return float(self._sweep(graph, one, lambda f, x: x * c_slope(f), "slope"))

    def _sweep(self, graph: KernelGraph, start: np.ndarray, local: Local, kind: str) -> np.ndarray:
        values: list[np.ndarray] = []
        for node in graph.nodes:
            if isinstance(node, Mix):
                parts = zip(node.shares, node.sources, strict=True)
                values.append(np.asarray(sum(share * values[i] for share, i in parts)))
            elif isinstance(node, Nonlinear):
                value = values[node.source]
                for _ in range(node.times):
                    value = self._step(node.function or self._activation, value, local, kind)
                values.append(value)
            else:
                values.append(start)
        return values[-1]

    def _step(self, function: Any, value: np.ndarray, local: Local, kind: str) -> np.ndarray:
        key = (kind, function, value.shape, value.tobytes())
        if key not in self._known:
            self._known[key] = np.asarray(local(function, value))
        return self._known[key]


@functools.lru_cache(maxsize=32)
def _c_map(function: Nonlinearity) -> Callable[[np.ndarray], np.ndarray]:
    """The C map of one activation, fast enough to be applied at thousands of values.

    In theta = arccos c it is analytic on [0, pi], with kinks too, so a Chebyshev series holds it.
    """
    if isinstance(function, ShapedActivation) and function.phi in ("relu", "leaky_relu"):
        if not function.input_shift and not function.output_shift:
            return lambda c: c_map(function, np.clip(c, -1, 1))
    series = Chebyshev.interpolate(
        lambda theta: c_map(function, np.cos(theta)), _CHEBYSHEV_DEGREE, domain=[0, np.pi]
    )
    return lambda c: np.clip(series(np.arccos(np.clip(c, -1, 1))), -1, 1)
