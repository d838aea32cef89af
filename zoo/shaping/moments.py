"""Gaussian moments of f(x) = phi(alpha x + beta), for many (alpha, beta) at once.

What the conditions of DKS and TAT are made of, before the output shift and scale are known.
"""

import dataclasses

import numpy as np

from zoo.shaping.gaussian import NODES_PER_PANEL, normal_panels
from zoo.shaping.pointwise import Pointwise


@dataclasses.dataclass(frozen=True)
class Moments:
    """Moments of f, each of shape [starts]; derivatives are with respect to x ~ N(0, 1).

    Attributes:
      mean: E[f].
      variance: E[(f - mean)^2].
      slope: E[f'^2].
      curvature: E[f''^2].
      q_slope: E[x (f - mean) f'].
      drift: E[x f'].
      rise: E[f'].
    """

    mean: np.ndarray
    variance: np.ndarray
    slope: np.ndarray
    curvature: np.ndarray
    q_slope: np.ndarray
    drift: np.ndarray
    rise: np.ndarray


def moments(
    phi: Pointwise, alpha: np.ndarray, beta: np.ndarray, nodes: int = NODES_PER_PANEL
) -> Moments:
    """Moments of phi(alpha x + beta); `alpha`, `beta`: [starts], alpha > 0."""
    scale, shift = alpha[..., None], beta[..., None]
    x, weights = normal_panels((np.asarray(phi.breaks) - shift) / scale, nodes)
    value, first, second = phi.jet(scale * x + shift)
    first, second = scale * first, scale**2 * second
    mean = np.sum(weights * value, axis=-1)
    centred = value - mean[..., None]
    return Moments(
        mean=mean,
        variance=np.sum(weights * centred**2, axis=-1),
        slope=np.sum(weights * first**2, axis=-1),
        curvature=np.sum(weights * second**2, axis=-1),
        q_slope=np.sum(weights * x * centred * first, axis=-1),
        drift=np.sum(weights * x * first, axis=-1),
        rise=np.sum(weights * first, axis=-1),
    )
