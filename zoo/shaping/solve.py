"""From the condition on one nonlinear layer to its constants.

The equations are solved by Newton's method in (log alpha, beta) from a fixed list of starts: the
roots for small alpha, where both equations have a limit, and a grid. Nothing is random, so every
process finds the same constants.

Roots are not unique. The rule, in this order:
  1. alpha > 0; x and -x have the same distribution, so the other sign gives the same maps.
  2. phi_hat increases on average, E[phi_hat'] > 0; the others sit in a shallow falling piece of phi
     (gelu, swish) that only an output scale in the hundreds makes visible.
  3. The flattest Q map: the smallest max |Q(q) - q| over q in {1/4, 1/2, 2, 4}.
  4. Among equals (mirror images) beta >= 0, then the smallest |beta|.
"""

import math

import numpy as np

from zoo.shaping.activation import ShapedActivation
from zoo.shaping.equations import DksEquations, Equations, TatEquations
from zoo.shaping.gaussian import NODES_PER_PANEL
from zoo.shaping.kernel_maps import RELU_MAX_SLOPE, q_map
from zoo.shaping.moments import moments
from zoo.shaping.pointwise import Pointwise, pointwise
from zoo.shaping.targets import UnreachableTargetError, root_between

_RESIDUAL = 1e-10  # of the conditions themselves, such as C'(1) - psi
_PROBE_Q = np.array([0.25, 0.5, 2.0, 4.0])
_SAME_FLATNESS = 1e-7  # flatness of mirror images agrees to rounding, of distinct roots it does not
_COARSE_NODES = 12
_COARSE_STEPS, _FINE_STEPS = 12, 6
_MAX_STEP = 0.7  # of log alpha and of beta, per Newton step
_BOUND = 12.0  # of |log alpha| and |beta|: beyond, phi is constant or linear in float64
_CONVERGED = 1e-9  # the next step would be its square, below rounding
_DIFFERENCE = 1e-5  # central differences: truncation and rounding both near 1e-10
_LIMIT_BETAS = np.linspace(-6, 6, 193)
_BREAK_RATIOS = (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)
_GRID = tuple((alpha, beta) for alpha in (0.3, 1.0, 2.0) for beta in (-1.0, 0.0, 1.0))


def solve_dks(name: str, psi: float, q_slope: float = 1.0) -> ShapedActivation:
    """Constants with Q(1) = 1, Q'(1) = q_slope, C(0) = 0 and C'(1) = psi, for a smooth activation.

    Raises:
      UnreachableTargetError: if no start leads to a root.
    """
    return _solve(pointwise(name), [DksEquations(psi, q_slope)], f"C'(1) = {psi:.6g}")


def solve_tat(name: str, kappa: float) -> ShapedActivation:
    """Constants with Q(1) = Q'(1) = C'(1) = 1 and C''(1) = kappa, for a smooth activation.

    Raises:
      UnreachableTargetError: if no start leads to a root.
    """
    equations: list[Equations] = [TatEquations(kappa, sign) for sign in (1.0, -1.0)]
    return _solve(pointwise(name), equations, f"C''(1) = {kappa:.6g}")


def solve_dks_leaky_relu(psi: float) -> ShapedActivation:
    """Leaky ReLU with Q(1) = Q'(1) = 1, C(0) = 0 and C'(1) = psi, in closed form.

      k = pi (1 - 1 / psi) = (1 - a)^2 / (1 + a^2)

    Raises:
      UnreachableTargetError: if psi > pi / (pi - 1), the slope of a shifted ReLU (a = 0).
    """
    if psi > RELU_MAX_SLOPE:
        raise UnreachableTargetError(f"leaky_relu cannot reach C'(1) = {psi:.6g} in one layer")
    rest = 1 - math.pi * (1 - 1 / psi)
    # (1 - sqrt(1 - r^2)) / r without its cancellation at small r.
    slope = max(rest, 0.0) / (1 + math.sqrt(max(1 - rest**2, 0.0)))
    mean = (1 - slope) / math.sqrt(2 * math.pi)
    return ShapedActivation(
        "leaky_relu",
        output_shift=-mean,
        output_scale=1 / math.sqrt((1 + slope**2) / 2 - mean**2),
        negative_slope=slope,
    )


def solve_dks_relu(psi: float) -> ShapedActivation:
    """ReLU with Q(1) = 1, C(0) = 0 and C'(1) = psi; Q'(1) is whatever comes out.

    Only alpha / beta matters, so beta is 1 below the slope pi / (pi - 1) of beta = 0 and else -1.

    Raises:
      UnreachableTargetError: if the kink would lie in the far tail of the distribution.
    """
    phi, beta = pointwise("relu"), 1.0 if psi < RELU_MAX_SLOPE else -1.0

    def excess(log_alpha: float) -> float:
        at = moments(phi, np.exp([log_alpha]), np.array([beta]))
        return float(at.slope[0] / at.variance[0]) - psi

    low, high = math.log(1 / 8), math.log(1e6)  # the kink is within 8 standard deviations
    if excess(low) * excess(high) > 0:
        raise UnreachableTargetError(f"relu cannot reach C'(1) = {psi:.6g} in one layer")
    alpha = math.exp(root_between(excess, low, high))
    return _shaped(phi, DksEquations(psi), alpha, beta)


def _solve(phi: Pointwise, candidates: list[Equations], target: str) -> ShapedActivation:
    roots = [root for equations in candidates for root in _roots(phi, equations)]
    if not roots:
        raise UnreachableTargetError(f"{phi.name} cannot reach {target} in one layer")
    roots = [root for root in roots if _rises(phi, root)] or roots
    flatness = [float(np.max(np.abs(q_map(root, _PROBE_Q) - _PROBE_Q))) for root in roots]
    flattest = min(flatness) + _SAME_FLATNESS
    equals = [root for root, flat in zip(roots, flatness, strict=True) if flat <= flattest]
    return max(equals, key=lambda root: (root.input_shift >= 0, -abs(root.input_shift)))


def _rises(phi: Pointwise, root: ShapedActivation) -> bool:
    at = moments(phi, np.array([root.input_scale]), np.array([root.input_shift]))
    return bool(at.rise[0] > 0)


def _roots(phi: Pointwise, equations: Equations) -> list[ShapedActivation]:
    """Distinct roots that meet the conditions."""
    point = _newton(phi, equations, _starts(phi, equations), _COARSE_NODES, _COARSE_STEPS)
    near = np.max(np.abs(_merit(phi, equations, point, _COARSE_NODES)), axis=0) < 1e-3
    point = _distinct(point[:, near], phi.period)
    point = _newton(phi, equations, point, NODES_PER_PANEL, _FINE_STEPS)
    if not point.size:
        return []
    at = moments(phi, np.exp(point[0]), point[1])
    met = np.max(np.abs(equations.residuals(at)), axis=0) < _RESIDUAL
    met &= np.max(np.abs(equations.merit(at)), axis=0) < 1e-3  # not merely small like the target
    point = _distinct(point[:, met], phi.period)
    return [_shaped(phi, equations, math.exp(log), beta) for log, beta in point.T]


def _starts(phi: Pointwise, equations: Equations) -> np.ndarray:
    """[2, starts] of (log alpha, beta): the limits for small alpha, around breaks, and the grid."""
    _, first, second = phi.jet(_LIMIT_BETAS)
    limit = equations.limit(first, second, np.gradient(second, _LIMIT_BETAS))
    crossing = np.flatnonzero(limit[:-1] * limit[1:] < 0)
    step = limit[crossing] / (limit[crossing] - limit[crossing + 1])
    smooth = _LIMIT_BETAS[crossing] + step * np.diff(_LIMIT_BETAS)[crossing]
    # Where phi'' jumps, beta tends to the break together with alpha, at a fixed ratio.
    breaks = np.repeat(phi.breaks, len(_BREAK_RATIOS))
    ratios = np.tile(_BREAK_RATIOS, len(phi.breaks))
    beta = np.concatenate([smooth, breaks])
    _, first, second = phi.jet(beta - 1e-9)
    with np.errstate(divide="ignore"):
        alpha = np.clip(equations.limit_scale() * np.abs(first / second), 1e-3, 3.0)
    beta = beta + alpha * np.concatenate([np.zeros_like(smooth), ratios])
    grid = np.array(_GRID).T
    return np.concatenate([[np.log(alpha), beta], [np.log(grid[0]), grid[1]]], axis=1)


def _newton(
    phi: Pointwise, equations: Equations, point: np.ndarray, nodes: int, steps: int
) -> np.ndarray:
    """Newton's method on the merit, for all points [2, starts] at once; lost points are dropped."""
    offsets = _DIFFERENCE * np.array([[0, 1, -1, 0, 0], [0, 0, 0, 1, -1]])[:, :, None]
    for _ in range(steps if point.size else 0):
        value = _merit(phi, equations, point[:, None, :] + offsets, nodes)
        jacobian = (value[:, 1::2] - value[:, 2::2]) / (2 * _DIFFERENCE)
        (a, b), (c, d) = jacobian
        with np.errstate(all="ignore"):
            step = np.stack([d * value[0, 0] - b * value[1, 0], a * value[1, 0] - c * value[0, 0]])
            step = step / (a * d - b * c)
        point = point - np.clip(step, -_MAX_STEP, _MAX_STEP)
        point = point[:, np.all(np.abs(point) < _BOUND, axis=0)]  # false for nan too
        if np.all(np.abs(step) < _CONVERGED):
            break
    return point


def _merit(phi: Pointwise, equations: Equations, point: np.ndarray, nodes: int) -> np.ndarray:
    with np.errstate(all="ignore"):  # points far from a root may overflow; they are dropped
        return equations.merit(moments(phi, np.exp(point[0]), point[1], nodes))


def _distinct(point: np.ndarray, period: float | None) -> np.ndarray:
    """`point` [2, starts] without repetitions; beta in [-period / 2, period / 2) if periodic."""
    if period is not None:
        point = np.stack([point[0], (point[1] + period / 2) % period - period / 2])
    kept: list[np.ndarray] = []
    for one in point.T:
        if all(np.max(np.abs(one - other)) > 1e-6 for other in kept):
            kept.append(one)
    return np.reshape(kept, (-1, 2)).T


def _shaped(phi: Pointwise, equations: Equations, alpha: float, beta: float) -> ShapedActivation:
    at = moments(phi, np.array([alpha]), np.array([beta]))
    mean = float(equations.mean(at)[0])
    return ShapedActivation(
        phi.name,
        input_scale=alpha,
        input_shift=beta,
        output_scale=1 / math.sqrt(float(at.variance[0]) + mean**2),
        output_shift=mean - float(at.mean[0]),
    )
