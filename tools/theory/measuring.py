"""Cosines in zoo networks with fresh weights, many activations at a time.

A Haar-uniform orthogonal matrix sends an orthonormal basis of what it acts on to a uniformly random
orthonormal frame. So each layer is drawn only where it acts, on three pixels: the same law as
drawing the whole matrix as `scaled_uniform_orthogonal` does, at a small part of the cost. What runs
is the zoo's forward pass; only its affine layers and its activation are replaced.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.models import create_model, graph_of
from zoo.models.layers import Conv, Dense
from zoo.shaping import ACTIVATIONS, DKS, EOC, TAT, ShapedActivation, c_map
from zoo.shaping.solved import solve_once
from zoo.shaping.targets import UnreachableTargetError

Method = DKS | TAT | EOC

PIXELS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0]], np.float32)
"""Three colours; with the ones that the network appends their cosines are 0, 1/2 and 1/2."""
COSINES = (0.0, 0.5)
_COUNT = len(PIXELS)
_NODES = 25


def methods() -> list[Method]:
    """Every method on every activation that it takes."""
    found: list[Method] = [EOC()]
    for kind in (DKS, TAT):
        for phi in ACTIVATIONS:
            if phi == "silu":  # another name of swish
                continue
            try:
                found.append(kind(phi))
            except ValueError:
                continue
    return found


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a method solves for one network, and the cosines its kernel maps end with."""

    method: str
    activation: ShapedActivation
    cosines: tuple[float, ...]


def predictions(
    depth: int, shortcut_weight: float, chosen: Sequence[Method] | None = None
) -> list[Prediction]:
    """Of the chosen methods, by default all, that can be solved in this network."""
    model = create_model(
        f"vanilla_resnet{depth}_eoc_relu",
        activation=ShapedActivation("relu"),
        shortcut_weight=shortcut_weight,
        abstract=True,
    )
    graph, found = graph_of(model), []
    for method in chosen or methods():
        try:
            solved = solve_once(method, graph)
        except UnreachableTargetError:
            continue
        ends = graph.evaluate(np.array(COSINES), _interpolated(solved))
        found.append(Prediction(type(method).__name__, solved, tuple(ends.tolist())))
    return found


def _interpolated(activation: ShapedActivation) -> Callable[[np.ndarray], np.ndarray]:
    """The C map on [0, 1] through 25 of its values; in arccos c it is smooth, kinks or not."""
    angles = (1 - np.polynomial.chebyshev.chebpts2(_NODES)) * np.pi / 4
    values = c_map(activation, np.clip(np.cos(angles), 0, 1))
    fit = np.polynomial.Chebyshev.fit(angles, values, _NODES - 1, domain=[0, np.pi / 2])
    return lambda c: np.clip(fit(np.arccos(np.clip(c, 0, 1))), 0, 1)


def measure(
    depth: int,
    shortcut_weight: float,
    width: float,
    activations: list[ShapedActivation],
    draws: int,
    seed: int,
) -> np.ndarray:
    """Cosines after the last activation, [activation, draw, cosine]."""
    rng = np.random.default_rng([seed, depth, round(1000 * shortcut_weight), round(1000 * width)])
    model = create_model(
        f"vanilla_resnet{depth}_eoc_relu",
        activation=cast(Any, _Each(activations)),
        shortcut_weight=shortcut_weight,
        width=width,
        abstract=True,
    )
    for _, module in list(nnx.iter_modules(model)):
        for name in list(vars(module)):
            if isinstance(getattr(module, name), Conv | Dense):
                setattr(module, name, _drawn_where_it_acts(getattr(module, name), rng))
    images = np.tile(PIXELS, (len(activations) * draws, 1))[:, None, None]
    features = np.asarray(model.features(jnp.asarray(images)), np.float64)
    u, v, between = np.moveaxis(features.reshape(len(activations), draws, _COUNT, -1), 2, 0)
    half = (_cosine(u, between) + _cosine(v, between)) / 2
    return np.stack([_cosine(u, v), half], -1)


class _Each:
    """Every activation on its own share of the batch."""

    def __init__(self, activations: list[ShapedActivation]) -> None:
        self._phis = tuple(one.phi for one in activations)
        names = ("input_scale", "input_shift", "output_scale", "output_shift", "negative_slope")
        values = [[getattr(one, name) or 0.0 for name in names] for one in activations]
        self._constants = np.array(values, np.float32)

    def __call__(self, x: Any) -> np.ndarray:
        return np.asarray(_activate(self._phis, self._constants, np.asarray(x)))


@functools.partial(jax.jit, static_argnums=0)
def _activate(phis: tuple[str, ...], constants: jax.Array, x: jax.Array) -> jax.Array:
    parts = x.reshape(len(phis), -1)
    outputs = []
    for phi, (alpha, beta, gamma, delta, slope), part in zip(phis, constants, parts, strict=True):
        slopes = (slope,) if phi == "leaky_relu" else ()
        outputs.append(gamma * (ACTIVATIONS[phi].value(alpha * part + beta, *slopes) + delta))
    return jnp.stack(outputs).reshape(x.shape)


def _drawn_where_it_acts(
    layer: Conv | Dense, rng: np.random.Generator
) -> Callable[[Any], np.ndarray]:
    """A new Haar-uniform layer for every `_COUNT` rows of the batch: [rows, 1, 1, channels]."""
    inputs, outputs = layer.kernel.shape[-2:]
    scale = max(1.0, (outputs / inputs) ** 0.5)

    def apply(x: Any) -> np.ndarray:
        rows = np.asarray(x).reshape(-1, _COUNT, inputs)
        size = (len(rows), _COUNT, max(inputs, outputs))
        normal = rng.standard_normal(size, np.float32)
        # rows = L (orthonormal), normal = M (uniformly random frame): L M^-1 normal.
        turn = scale * _lower(rows) @ np.linalg.inv(_lower(normal))
        return (turn.astype(np.float32) @ normal[..., :outputs]).reshape(-1, 1, 1, outputs)

    return apply


def _lower(rows: np.ndarray) -> np.ndarray:
    """Cholesky factor of the inner products, [..., count, count]."""
    wide = rows.astype(np.float64)
    return np.linalg.cholesky(wide @ wide.swapaxes(-1, -2))


def _cosine(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.sum(u * v, -1) / np.sqrt(np.sum(u * u, -1) * np.sum(v * v, -1))
