"""Local kernel maps of a `ShapedActivation`: how one nonlinear layer acts on q and c.

For a feature vector z with d channels, q = |z|^2 / d and c is the cosine between two such vectors.
In the wide limit a nonlinear layer maps q to Q(q) and, at q = 1, c to C(c). Everything is float64
numpy; arrays of any shape go in and the same shape comes out.

Source: Martens et al. 2021, arXiv 2110.01765; Daniely et al. 2016, arXiv 1602.05897.
"""

import math
from typing import Any

import numpy as np

from zoo.shaping.activation import ShapedActivation
from zoo.shaping.elementwise import Elementwise
from zoo.shaping.gaussian import NODES_PER_PANEL, RADIUS, normal_panels

Nonlinearity = ShapedActivation | Elementwise

_LARGEST_PART = 1 << 20

RELU_MAX_SLOPE = math.pi / (math.pi - 1)  # C'(1) of a relu shifted to C(0) = 0


def jet(activation: Nonlinearity, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(phi_hat, phi_hat', phi_hat'') at `x`; the last leaves out the delta at a kink.

    Of channels that are not linear, where an activation has a `linear_share`.
    """
    slope = () if activation.negative_slope is None else (activation.negative_slope,)
    inner = activation.input_scale * x + activation.input_shift
    value, first, second = activation.definition.jet(inner, *slope)
    alpha, gamma = activation.input_scale, activation.output_scale
    return (
        gamma * (value + activation.output_shift),
        gamma * alpha * first,
        gamma * alpha**2 * second,
    )


def q_map(activation: Nonlinearity, q: np.ndarray | float) -> np.ndarray:
    """Q(q) = E[phi_hat(sqrt(q) x)^2], x ~ N(0, 1), for q >= 0."""
    x, weights = _scaled_panels(activation, np.sqrt(np.asarray(q, np.float64)))
    return np.sum(weights * jet(activation, x)[0] ** 2, axis=-1)


def q_slope(activation: Nonlinearity) -> float:
    """Q'(1) = E[x phi_hat(x) phi_hat'(x)]."""
    x, weights = _scaled_panels(activation, np.ones(()))
    value, first, _ = jet(activation, x)
    return float(np.sum(weights * x * value * first))


def c_map(activation: Nonlinearity, c: np.ndarray | float) -> np.ndarray:
    """C(c) = E[phi_hat(u) phi_hat(v)] / Q(1); u, v ~ N(0, 1) with correlation c in [-1, 1].

    Raises:
      ValueError: if some |c| > 1.
    """
    if _is_homogeneous(activation):
        curved = leaky_relu_c_map(activation.negative_slope or 0.0, _correlation(c))
        return _with_linear(activation, np.asarray(c, np.float64), curved)
    return _correlate(activation, 0, c)


def c_slope(activation: Nonlinearity, c: np.ndarray | float = 1.0) -> np.ndarray:
    """C'(c) = E[phi_hat'(u) phi_hat'(v)] / Q(1); the default, c = 1, is what DKS controls.

    Raises:
      ValueError: if some |c| > 1.
    """
    slopes = _with_linear(activation, 1.0, _correlate(activation, 1, c))
    jumps = isinstance(activation, Elementwise) and activation.jumps
    return np.where(np.abs(c) == 1, math.inf, slopes) if jumps else slopes


def c_curvature(activation: Nonlinearity) -> float:
    """C''(1) = E[phi_hat''(x)^2] / Q(1), infinite where phi has a kink (a slope that jumps)."""
    definition = activation.definition
    if definition.kinked and activation.negative_slope != 1.0:
        return math.inf
    return float(_correlate(activation, 2, 1.0))


def leaky_relu_c_map(negative_slope: float, c: np.ndarray | float) -> np.ndarray:
    """C map of leaky ReLU without shifts, in closed form.

      C_a(c) = c + (k / pi) (sqrt(1 - c^2) - c arccos c),   k = (1 - a)^2 / (1 + a^2)

    Source: Cho & Saul 2009; Zhang et al. 2022, arXiv 2203.08120.
    """
    c = np.asarray(c, np.float64)
    kink = (1 - negative_slope) ** 2 / (1 + negative_slope**2)
    return c + kink / np.pi * (np.sqrt(1 - c * c) - c * np.arccos(c))


def _with_linear(activation: Nonlinearity, linear: Any, curved: np.ndarray) -> np.ndarray:
    """The mean over linear and other channels, which all have the same mean square."""
    share = activation.linear_share if isinstance(activation, ShapedActivation) else 0.0
    return share * linear + (1 - share) * curved if share else curved


def _is_homogeneous(activation: Nonlinearity) -> bool:
    unshifted = activation.input_shift == 0 and activation.output_shift == 0
    return activation.phi in ("relu", "leaky_relu") and unshifted and activation.input_scale > 0


def _correlation(c: np.ndarray | float) -> np.ndarray:
    c = np.asarray(c, np.float64)
    if np.any(np.abs(c) > 1):
        raise ValueError(f"c is a cosine in [-1, 1], got {c[np.abs(c) > 1].flat[0]}")
    return c


def breaks(activation: Nonlinearity) -> np.ndarray:
    """Where phi_hat or one of its first derivatives jumps."""
    found = np.asarray(activation.definition.breaks, np.float64)
    return (found - activation.input_shift) / activation.input_scale


def _scaled_panels(activation: Nonlinearity, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sqrt(q) x for panel nodes x, [..., nodes], and their weights."""
    with np.errstate(divide="ignore", invalid="ignore"):
        splits = np.nan_to_num(breaks(activation) / scale[..., None])
    x, weights = normal_panels(splits)
    return scale[..., None] * x, weights


def _correlate(activation: Nonlinearity, order: int, c: np.ndarray | float) -> np.ndarray:
    """E[phi_hat^(order)(u) phi_hat^(order)(v)] / Q(1) for each c."""
    c = _correlation(c)
    products = [_correlate_one(activation, order, one) for one in c.ravel()]
    return np.reshape(products, c.shape) / q_map(activation, 1.0)


def _correlate_one(activation: Nonlinearity, order: int, c: float) -> float:
    """E[f(x) f(c x + s y)], f = phi_hat^(order), s = sqrt(1 - c^2), as an iterated integral."""
    jumps = breaks(activation)
    s = math.sqrt((1 - c) * (1 + c))
    # The inner expectation turns smoothly, over a distance s, where c x crosses a break.
    turns = [sign * jumps + s * k for sign in (1, -1) for k in (-8, -2, 0, 2, 8)]
    x, outer_weights = normal_panels(np.concatenate(turns) if jumps.size else jumps)
    outer = outer_weights * jet(activation, x)[order]
    if s == 0:
        return float(np.sum(outer * jet(activation, c * x)[order]))
    inner = [_inner(activation, order, part, c, s) for part in np.array_split(x, _parts(x, jumps))]
    return float(np.sum(outer * np.concatenate(inner)))


def _inner(activation: Nonlinearity, order: int, x: np.ndarray, c: float, s: float) -> np.ndarray:
    """E[f(c x + s y)] over y, at each x."""
    splits = np.clip((breaks(activation) - c * x[:, None]) / s, -RADIUS, RADIUS)
    y, weights = normal_panels(splits)
    return np.sum(weights * jet(activation, c * x[:, None] + s * y)[order], axis=-1)


def _parts(x: np.ndarray, jumps: np.ndarray) -> int:
    """Into how many parts to cut the outer nodes, so that each takes tens of megabytes."""
    return 1 + x.size * (jumps.size + 4) * NODES_PER_PANEL // _LARGEST_PART
