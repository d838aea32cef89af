"""q and c values through a whole network, where q is not 1 everywhere.

A shaped network keeps q = 1 and needs only `KernelGraph.evaluate`. A network as somebody else wrote
it does not: ReLUs halve q, and sums then weigh the cosines of their branches by q.
"""

import dataclasses
import math

import numpy as np

from zoo.shaping.graph import Input, KernelGraph, Mix, Nonlinear
from zoo.shaping.kernel_maps import Nonlinearity, c_map, q_map
from zoo.shaping.resolution import check_resolved


@dataclasses.dataclass(frozen=True)
class Kernels:
    """q and c values of one signal.

    Attributes:
      q: mean square, the same for all inputs.
      c: cosines, any shape.
    """

    q: float
    c: np.ndarray


def propagate(
    graph: KernelGraph,
    c: np.ndarray | float,
    *,
    q: float = 1.0,
    activation: Nonlinearity | None = None,
) -> list[Kernels]:
    """q and c values after every node of `graph`; the last is the network's output.

      nonlinear layer: Q(q), C(c; q, q)     sum: q = sum_i s_i q_i,  c = sum_i s_i q_i c_i / q
      product of independent signals: q1 q2, c1 c2

    Args:
      graph: from `kernel_graph`.
      c: cosines between inputs, any shape.
      q: mean square of the inputs.
      activation: of the marked nonlinear layers.

    Raises:
      ValueError: if q is not positive, or marked layers have no activation.
      NotShapableError: for a nonlinear layer that the quadrature does not resolve at its q value.

    Source: Martens et al. 2021, arXiv 2110.01765; Daniely et al. 2016, arXiv 1602.05897.
    """
    if not (math.isfinite(q) and q > 0):
        raise ValueError(f"q={q} is a mean square; give a number greater than 0")
    values = [Kernels(float(q), np.asarray(c, np.float64))]
    for node in graph.nodes[1:]:
        sources = [values[source] for source in node.sources]
        if isinstance(node, Nonlinear):
            values.append(_nonlinear(sources[0], node, activation))
        elif isinstance(node, Mix):
            values.append(_mix(sources, node.shares))
        elif not isinstance(node, Input):
            c_values = np.prod([one.c for one in sources], axis=0)
            values.append(Kernels(math.prod(one.q for one in sources), c_values))
    return values


def _nonlinear(one: Kernels, node: Nonlinear, activation: Nonlinearity | None) -> Kernels:
    function = node.function or activation
    if function is None:
        raise ValueError("the graph has marked nonlinear layers; pass their activation=...")
    for _ in range(node.times):
        check_resolved(function, one.q)
        # phi(sqrt(q) x) for x of unit variance.
        scale = function.input_scale * math.sqrt(one.q)
        scaled = dataclasses.replace(function, input_scale=scale)
        one = Kernels(float(q_map(function, one.q)), c_map(scaled, np.clip(one.c, -1, 1)))
    return one


def _mix(sources: list[Kernels], shares: tuple[float, ...]) -> Kernels:
    q_shares = [share * one.q for share, one in zip(shares, sources, strict=True)]
    q = math.fsum(q_shares)
    parts = [part / q * one.c for part, one in zip(q_shares, sources, strict=True)]
    return Kernels(q, np.sum(parts, axis=0))
