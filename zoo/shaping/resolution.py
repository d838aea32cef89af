"""Which nonlinearities the quadrature resolves: what it cannot tell is refused, not guessed."""

import math

import numpy as np

from zoo.shaping.gaussian import NODES_PER_PANEL, normal_panels
from zoo.shaping.kernel_maps import Nonlinearity, breaks, jet
from zoo.shaping.refusals import NotShapableError

_FINER = 3 * NODES_PER_PANEL // 2
_AGREEMENT = 1e-6  # relative, of the mean squares of f and f' with two numbers of nodes
_MOST_BREAKS = 16  # the cost of a C map grows with their square
_TAIL = 8.0  # normal values beyond are met once in 10^15
_TAIL_SHARE = 1e-6  # of the mean square


def check_resolved(function: Nonlinearity, q: float, where: str = "") -> None:
    """Refuses a nonlinear layer whose kernel map at `q` the quadrature does not give.

    Raises:
      NotShapableError: if the mean square of f(sqrt(q) x) or of its slope changes with the number
        of nodes, is 0 or not finite, or lies where normal values hardly ever are; or if it
        jumps at many places.
    """
    place = f" ({where})" if where else ""
    count = len(function.definition.breaks)
    if count > _MOST_BREAKS:
        raise NotShapableError(
            f"the network applies {function.phi}, which jumps or bends at {count} places, more "
            f"than the {_MOST_BREAKS} that the quadrature takes; use a smooth function{place}"
        )
    with np.errstate(all="ignore"):
        coarse, fine = (_squares(function, q, nodes) for nodes in (NODES_PER_PANEL, _FINER))
    reason = ""
    if not (math.isfinite(fine[0]) and fine[0] > 0):
        reason = f"has the mean square {fine[0]:.4g}"
    elif fine[2] > _TAIL_SHARE * fine[0]:
        reason = f"owes {fine[2] / fine[0]:.2g} of its mean square to values that hardly ever occur"
    else:
        for a, b in zip(coarse[:2], fine[:2], strict=True):
            if not abs(a - b) <= _AGREEMENT * abs(b):
                reason = (
                    f"turns faster than the quadrature resolves: a mean square is {a:.6g} with "
                    f"{NODES_PER_PANEL} nodes a panel, {b:.6g} with {_FINER}"
                )
    if reason:
        raise NotShapableError(
            f"the network applies {function.phi}, which for normal values of mean square {q:.4g} "
            f"{reason}; use a function that varies where they are{place}"
        )


def _squares(function: Nonlinearity, q: float, nodes: int) -> tuple[float, float, float]:
    """E[f^2], E[f'^2] and the part of E[f^2] from the tails, for x of variance q."""
    root = math.sqrt(q)
    x, weights = normal_panels(breaks(function) / root, nodes)
    value, slope, _ = jet(function, root * x)
    squares = weights * value**2
    tail = float(np.sum(squares[np.abs(x) > _TAIL]))
    return float(np.sum(squares)), float(np.sum(weights * slope**2)) * q, tail
