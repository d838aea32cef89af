"""The activation functions themselves: how JAX computes each, and its derivatives in float64 numpy.

Owns the table `ACTIVATIONS`. Knows nothing of input and output constants (`activation`) nor of
expectations (`gaussian`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from zoo.common.words import nearest

Jet = tuple[np.ndarray, np.ndarray, np.ndarray]

_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_ALPHA = 1.6732632423543772848170429916717
_GELU_CUBIC = 0.044715  # Hendrycks & Gimpel 2016, tanh approximation
_SQRT_2_OVER_PI = np.sqrt(2 / np.pi)
DEFAULT_NEGATIVE_SLOPE = 0.01


@dataclasses.dataclass(frozen=True)
class Pointwise:
    """One activation function phi.

    Attributes:
      name: the name users type.
      value: phi on JAX arrays, dtype kept; leaky_relu takes its negative slope as second argument.
      jet: (phi, phi', phi'') on float64 numpy arrays; phi'' leaves out the delta at a kink.
      breaks: points where phi' or phi'' jumps; quadrature panels are split there.
      kinked: whether phi' jumps, so that the curvature C''(1) is infinite.
      symmetric: whether phi(-x) = s phi(x) + t for constants s = -1 or 1 and t, so that a solution
        with a negative input scale has a mirror image with a positive one.
      period: phi(x + period) = phi(x), or None.
    """

    name: str
    value: Callable[..., jax.Array]
    jet: Callable[..., Jet]
    breaks: tuple[float, ...] = ()
    kinked: bool = False
    symmetric: bool = False
    period: float | None = None


class UnknownActivationError(ValueError):
    """The name is not in `ACTIVATIONS`."""


def pointwise(name: str) -> Pointwise:
    """The activation called `name`.

    Raises:
      UnknownActivationError: if there is none; the message gives the nearest names.
    """
    if isinstance(name, str) and name in ACTIVATIONS:
        return ACTIVATIONS[name]
    near = nearest(str(name), ACTIVATIONS)
    raise UnknownActivationError(
        f"unknown activation {name!r}; {near}{near and '; '}all: {', '.join(sorted(ACTIVATIONS))}"
    )


def _tanh(x: np.ndarray) -> Jet:
    t = np.tanh(x)
    return t, 1 - t * t, -2 * t * (1 - t * t)


def _atan(x: np.ndarray) -> Jet:
    d = 1 / (1 + x * x)
    return np.arctan(x), d, -2 * x * d * d


def _asinh(x: np.ndarray) -> Jet:
    d = 1 / np.sqrt(1 + x * x)
    return np.arcsinh(x), d, -x * d * d * d


def _sin(x: np.ndarray) -> Jet:
    return np.sin(x), np.cos(x), -np.sin(x)


def _cos(x: np.ndarray) -> Jet:
    return np.cos(x), -np.sin(x), -np.cos(x)


def _sigmoid(x: np.ndarray) -> Jet:
    s, r = special.expit(x), special.expit(-x)
    return s, s * r, s * r * (r - s)


def _erf(x: np.ndarray) -> Jet:
    d = 2 / np.sqrt(np.pi) * np.exp(-x * x)
    return special.erf(x), d, -2 * x * d


def _softplus(x: np.ndarray) -> Jet:
    s, r = special.expit(x), special.expit(-x)
    return np.logaddexp(0.0, x), s, s * r


def _softsign(x: np.ndarray) -> Jet:
    d = 1 / (1 + np.abs(x))
    return x * d, d * d, -2 * np.sign(x) * d * d * d


def _bentid(x: np.ndarray) -> Jet:
    root = np.sqrt(x * x + 1)
    return (root - 1) / 2 + x, x / (2 * root) + 1, 1 / (2 * root * root * root)


def _swish(x: np.ndarray) -> Jet:
    s, ds, dds = _sigmoid(x)
    return x * s, s + x * ds, 2 * ds + x * dds


def _elu(x: np.ndarray) -> Jet:
    e = np.exp(np.minimum(x, 0))
    positive = x > 0
    return (
        np.where(positive, x, np.expm1(np.minimum(x, 0))),
        np.where(positive, 1.0, e),
        np.where(positive, 0.0, e),
    )


def _selu(x: np.ndarray) -> Jet:
    scale = np.where(x > 0, _SELU_SCALE, _SELU_SCALE * _SELU_ALPHA)
    value, slope, curvature = _elu(x)
    return scale * value, scale * slope, scale * curvature


def _gelu(x: np.ndarray) -> Jet:
    t, dt, ddt = _tanh(_SQRT_2_OVER_PI * (x + _GELU_CUBIC * x * x * x))
    inner = _SQRT_2_OVER_PI * (1 + 3 * _GELU_CUBIC * x * x)
    slope = dt * inner
    curvature = ddt * inner**2 + dt * _SQRT_2_OVER_PI * 6 * _GELU_CUBIC * x
    return x * (1 + t) / 2, (1 + t + x * slope) / 2, slope + x * curvature / 2


def _gelu_exact(x: np.ndarray) -> Jet:
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    mass = special.ndtr(x)
    return x * mass, mass + x * density, (2 - x * x) * density


def _square(x: np.ndarray) -> Jet:
    return x * x, 2 * x, np.full_like(x, 2.0)


def _leaky_relu(x: np.ndarray, negative_slope: float) -> Jet:
    slope = np.where(x > 0, 1.0, negative_slope)
    return slope * x, slope, np.zeros_like(x)


def _relu(x: np.ndarray) -> Jet:
    return _leaky_relu(x, 0.0)


def _identity(x: np.ndarray) -> Jet:
    return x, np.ones_like(x), np.zeros_like(x)


def _jax_leaky_relu(x: jax.Array, negative_slope: float) -> jax.Array:
    return jnp.where(x > 0, x, negative_slope * x)


def _jax_bentid(x: jax.Array) -> jax.Array:
    return (jnp.sqrt(x * x + 1) - 1) / 2 + x


def _jax_gelu_exact(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


def _table() -> Mapping[str, Pointwise]:
    swish = Pointwise("swish", jax.nn.silu, _swish)
    rows = [
        Pointwise("identity", lambda x: x, _identity, symmetric=True),
        Pointwise("tanh", jnp.tanh, _tanh, symmetric=True),
        Pointwise("atan", jnp.arctan, _atan, symmetric=True),
        Pointwise("asinh", jnp.arcsinh, _asinh, symmetric=True),
        Pointwise("sin", jnp.sin, _sin, symmetric=True, period=2 * np.pi),
        Pointwise("cos", jnp.cos, _cos, symmetric=True, period=2 * np.pi),
        Pointwise("sigmoid", jax.nn.sigmoid, _sigmoid, symmetric=True),
        Pointwise("erf", jax.scipy.special.erf, _erf, symmetric=True),
        Pointwise("softplus", jax.nn.softplus, _softplus),
        Pointwise("softsign", jax.nn.soft_sign, _softsign, breaks=(0.0,), symmetric=True),
        Pointwise("bentid", _jax_bentid, _bentid),
        swish,
        Pointwise("elu", jax.nn.elu, _elu, breaks=(0.0,)),
        Pointwise("selu", jax.nn.selu, _selu, breaks=(0.0,), kinked=True),
        Pointwise("gelu", jax.nn.gelu, _gelu),
        Pointwise("gelu_exact", _jax_gelu_exact, _gelu_exact),
        Pointwise("square", jnp.square, _square, symmetric=True),
        Pointwise("relu", jax.nn.relu, _relu, breaks=(0.0,), kinked=True),
        Pointwise("leaky_relu", _jax_leaky_relu, _leaky_relu, breaks=(0.0,), kinked=True),
    ]
    return MappingProxyType({row.name: row for row in rows} | {"silu": swish})


ACTIVATIONS: Mapping[str, Pointwise] = _table()
