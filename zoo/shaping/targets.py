"""From a target for the whole network to the condition on each of its nonlinear layers.

Every nonlinear layer gets the same condition. It is chosen so that the largest value over all
subnetworks meets the target: slopes multiply along a path, curvatures add (all slopes being 1).
"""

import math
from collections.abc import Callable

from scipy.optimize import brentq

from zoo.shaping.graph import KernelGraph, Subnetworks
from zoo.shaping.refusals import NotShapableError

_HUGE = 1e300  # stands for overflow while the slope search brackets
_MAX_NAMED_DEPTH = 100_000  # of leaky ReLUs, where a step is one formula
_MAX_SOLVED_DEPTH = 4096  # of other activations, where a step is a solve


class UnreachableTargetError(ValueError):
    """No constants of this activation meet the target in this network."""


def local_slope(graph: KernelGraph, zeta: float, subnetworks: Subnetworks = "all") -> float:
    """The psi > 1 for which the largest slope C_f'(1) over subnetworks f is zeta.

    zeta^(1/L) for a chain of L nonlinear layers.
    """
    _check_depth(graph)
    if graph.is_chain:
        return zeta ** (1 / graph.num_nonlinear)

    def excess(log_slope: float) -> float:
        slope = math.exp(log_slope)
        largest = graph.maximum(1.0, lambda y: min(slope * y, _HUGE), subnetworks)
        return math.log(largest) - math.log(zeta)

    # At least one nonlinear layer is applied, so the local slope is at most zeta; on a chain as
    # deep as the longest path it would be smallest.
    low, high = math.log(zeta) / graph.nonlinear_depth, math.log(zeta)
    return math.exp(root_between(excess, low, high))


def local_curvature(graph: KernelGraph, tau: float, subnetworks: Subnetworks = "all") -> float:
    """The kappa > 0 for which the largest curvature C_f''(1) over subnetworks f is tau.

    The largest curvature is linear in kappa; tau / L for a chain of L nonlinear layers.
    """
    _check_depth(graph)
    return tau / graph.maximum(0.0, lambda y: y + 1, subnetworks)


def local_negative_slope(
    graph: KernelGraph, eta: float, subnetworks: Subnetworks = "all", linear_share: float = 0.0
) -> float:
    """The a in [0, 1) for which the largest C_f(0) over subnetworks f of leaky ReLUs is eta.

    With a share p of linear channels a layer has the map p c + (1 - p) C_a(c).

    Raises:
      UnreachableTargetError: if even a = 0 (ReLU) stays below eta.
    """
    _check_depth(graph)

    def excess(negative_slope: float) -> float:
        return _largest_c(graph, negative_slope, subnetworks, linear_share) - eta

    reachable = _largest_c(graph, 0.0, subnetworks, linear_share)
    if reachable < eta:
        raise UnreachableTargetError(
            f"eta={eta} {needed_chain(eta, linear_share)}; this network with "
            f"{graph.num_nonlinear} nonlinear layers (longest path {graph.nonlinear_depth}) "
            f"reaches at most {_floor(reachable)}: "
            "lower eta, add layers, or give shortcuts less weight"
        )
    return root_between(excess, 0.0, 1.0)


def needed_chain(eta: float, linear_share: float = 0.0) -> str:
    """How deep a plain chain of leaky ReLUs must be for eta, as part of a sentence."""
    c = 0.0
    for depth in range(1, _MAX_NAMED_DEPTH + 1):
        c = _leaky_relu_step(c, (1 - linear_share) / math.pi)
        if c >= eta:
            return f"needs a plain chain of at least {depth} nonlinear layers"
    return f"needs a plain chain of more than {_MAX_NAMED_DEPTH} nonlinear layers"


def advice(solve_chain: Callable[[int], object], graph: KernelGraph) -> str:
    """What to change when `graph` does not reach a target, naming the chain that would.

    Args:
      solve_chain: solves for a plain chain of the given depth, or raises UnreachableTargetError.
      graph: of the network that was asked for.
    """

    def reaches(depth: int) -> bool:
        try:
            solve_chain(depth)
        except UnreachableTargetError:
            return False
        return True

    # A shallower chain is asked for more per layer, so it can only help where there are shortcuts.
    low = graph.num_nonlinear if graph.is_chain else 0
    high = low + 1
    while not reaches(high):
        low, high = high, 4 * high
        if high > _MAX_SOLVED_DEPTH:
            return "no depth reaches it with this activation: ask for less or change the activation"
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return (
        f"a plain chain of at least {high} nonlinear layers reaches it, this network has "
        f"{graph.num_nonlinear}: ask for less or add layers"
    )


def _largest_c(
    graph: KernelGraph, negative_slope: float, subnetworks: Subnetworks, linear_share: float
) -> float:
    kink = (1 - linear_share) * (1 - negative_slope) ** 2 / (1 + negative_slope**2) / math.pi
    return graph.maximum(0.0, lambda c: _leaky_relu_step(c, kink), subnetworks)


def _leaky_relu_step(c: float, kink_over_pi: float) -> float:
    """`leaky_relu_c_map` for one Python float, which the search calls 10,000 times."""
    c = min(c, 1.0)  # rounding can pass 1 by one unit in the last place
    return c + kink_over_pi * (math.sqrt(1 - c * c) - c * math.acos(c))


def root_between(function: Callable[[float], float], low: float, high: float) -> float:
    """Root in [low, high] to the last digits; an end counts if rounding puts the root there."""
    at_low, at_high = function(low), function(high)
    if at_low * at_high >= 0:
        return low if abs(at_low) <= abs(at_high) else high
    # pyrefly: ignore [bad-argument-type] - without full_output brentq returns a float.
    return float(brentq(function, low, high, xtol=1e-16, rtol=1e-15))


def _floor(value: float) -> float:
    """`value` with 4 digits, rounded down so that asking for it succeeds."""
    return math.floor(value * 1e4) / 1e4


def check_shapable(graph: KernelGraph) -> None:
    """Refuses a graph that has kernel maps, but none that a method could set.

    Raises:
      NotShapableError: names the first activation that is not a `ShapedActivation`, where it
        stands, and what to use for it; or says that signals are multiplied.
    """
    if graph.has_products:
        raise NotShapableError(
            "the network multiplies signals, as gates do, so that slopes add up to 2 or more "
            "whatever the activation; put a normalised sum in place of the product"
        )
    if graph.unmarked:
        raise NotShapableError(graph.unmarked[0].refusal)


def _check_depth(graph: KernelGraph) -> None:
    check_shapable(graph)
    if not graph.num_nonlinear:
        raise UnreachableTargetError(
            "the network has no nonlinear layer to shape; apply a zoo.ShapedActivation between its "
            "affine layers"
        )
