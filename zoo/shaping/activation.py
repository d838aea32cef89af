"""`ShapedActivation`: an activation function with its solved constants, frozen and callable.

Its application is one JAX primitive, so that a traced forward pass shows where the nonlinear layers
are. Under `jit` the primitive lowers to the plain formula and costs nothing.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from zoo.shaping.pointwise import ACTIVATIONS, DEFAULT_NEGATIVE_SLOPE, Pointwise, pointwise

__all__ = ["ACTIVATIONS", "ShapedActivation", "shaped_activation_p"]


@dataclasses.dataclass(frozen=True)
class ShapedActivation:
    """The elementwise function

      phi_hat(x) = output_scale * (phi(input_scale * x + input_shift) + output_shift)

    or, with a `linear_share`, that in some channels and in the others a multiple of x with the same
    mean square, input_scale * output_scale * sqrt((1 + negative_slope^2) / 2) * x. Channels are the
    last axis. Which are linear follows from their position, evenly spread: nothing is drawn or
    stored, equal layers can be scanned as one, and as random weights treat all channels alike, it
    is as good as drawing them for every layer.

    All constants are Python floats and never trained. `dataclasses.asdict(a)` is the JSON form and
    `ShapedActivation(**d)` its inverse.

    Attributes:
      phi: name in `ACTIVATIONS`.
      input_scale: alpha of the papers, not 0.
      input_shift: beta.
      output_scale: gamma, not 0.
      output_shift: delta.
      negative_slope: slope of leaky_relu below 0 (None: 0.01); None for every other activation.
      linear_share: leaky_relu without shifts only: share of the channels that are linear, in
        [0, 1); of n channels floor(n linear_share) are.

    Raises:
      ValueError: for an unknown phi, a constant that is not finite, a zero scale, or a negative
        slope or linear share given to another activation than leaky_relu.

    Source: Martens et al. 2021, arXiv 2110.01765; Zhang et al. 2022, arXiv 2203.08120.
    """

    phi: str
    input_scale: float = 1.0
    input_shift: float = 0.0
    output_scale: float = 1.0
    output_shift: float = 0.0
    negative_slope: float | None = None
    linear_share: float = 0.0

    def __post_init__(self) -> None:
        pointwise(self.phi)
        if self.phi == "leaky_relu":
            if self.negative_slope is None:
                object.__setattr__(self, "negative_slope", DEFAULT_NEGATIVE_SLOPE)
        elif self.negative_slope is not None:
            raise ValueError(
                f"negative_slope={self.negative_slope} belongs to leaky_relu, phi is {self.phi!r}; "
                "leave negative_slope out"
            )
        for field in dataclasses.fields(self):
            if field.name != "phi" and getattr(self, field.name) is not None:
                self._set_float(field.name)
        if not self.input_scale or not self.output_scale:
            raise ValueError("input_scale and output_scale must not be 0: the output is constant")
        self._check_linear_share()

    def _check_linear_share(self) -> None:
        if not 0 <= self.linear_share < 1:
            raise ValueError(f"linear_share={self.linear_share}; give [0, 1)")
        shifted = self.input_shift or self.output_shift or self.input_scale < 0
        if self.linear_share and (self.phi != "leaky_relu" or shifted):
            raise ValueError(
                f"linear_share={self.linear_share} needs a leaky_relu without shifts and with a "
                f"positive input_scale, phi is {self.phi!r}; leave linear_share out"
            )

    def _set_float(self, name: str) -> None:
        value = float(getattr(self, name))
        if not math.isfinite(value):
            raise ValueError(f"{name}={value} of {self.phi} is not finite; give a finite number")
        object.__setattr__(self, name, value)

    @property
    def definition(self) -> Pointwise:
        """Table entry of `phi`: formula, derivatives, kinks."""
        return pointwise(self.phi)

    @property
    def linear_scale(self) -> float:
        """What the linear channels are multiplied by; 1 for solved constants."""
        slope = self.negative_slope or 0.0
        return self.input_scale * self.output_scale * math.sqrt((1 + slope**2) / 2)

    def linear_channels(self, count: int) -> np.ndarray:
        """Which of `count` channels are linear, [count]: i where floor(i p) < floor((i + 1) p)."""
        steps = np.floor(np.arange(count + 1) * self.linear_share)
        return np.diff(steps) > 0

    def __call__(self, x: jax.Array) -> jax.Array:
        """phi_hat of every element of `x` (any shape, floating dtype, kept).

        Raises:
          ValueError: if `x` is not of a real floating dtype, or has no axis of channels for a
            `linear_share`.
        """
        x = jnp.asarray(x)
        if self.linear_share and not x.ndim:
            raise ValueError("a linear_share needs channels in the last axis, got a single number")
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"{self.phi} needs floating-point input, got {x.dtype}; cast it first")
        return shaped_activation_p.bind(x, activation=self)


def _formula(x: jax.Array, *, activation: ShapedActivation) -> jax.Array:
    # Narrow types compute in float32: output_scale reaches 75 at 500 layers and multiplies a
    # difference of nearly equal numbers, which bfloat16 (8 bits) would turn into noise.
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    inner = activation.input_scale * wide + activation.input_shift
    slope = () if activation.negative_slope is None else (activation.negative_slope,)
    outer = activation.definition.value(inner, *slope) + activation.output_shift
    result = activation.output_scale * outer
    if activation.linear_share:
        linear = activation.linear_channels(x.shape[-1])
        result = jnp.where(linear, activation.linear_scale * wide, result)
    return result.astype(x.dtype)


def _derivative(x: jax.Array, *, activation: ShapedActivation) -> jax.Array:
    formula = functools.partial(_formula, activation=activation)
    return jax.jvp(formula, (x,), (jnp.ones_like(x),))[1]


def _second_derivative(x: jax.Array, *, activation: ShapedActivation) -> jax.Array:
    derivative = functools.partial(_derivative, activation=activation)
    return jax.jvp(derivative, (x,), (jnp.ones_like(x),))[1]


def _make_primitive(
    name: str, formula: Callable[..., jax.Array], derivative: Callable[..., jax.Array]
) -> Primitive:
    primitive = Primitive(name)

    def batch(args: tuple, axes: tuple, *, activation: ShapedActivation) -> tuple[jax.Array, int]:
        # The last axis stays that of the channels.
        return primitive.bind(jnp.moveaxis(args[0], axes[0], 0), activation=activation), 0

    primitive.def_impl(jax.jit(formula, static_argnames="activation"))
    primitive.def_abstract_eval(lambda x, *, activation: x)
    ad.defjvp(primitive, lambda tangent, x, *, activation: tangent * derivative(x, activation))
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(formula, multiple_results=False))
    return primitive


# Marked too, so that what rewrites a traced backward pass can see where it is.
_derivative_p = _make_primitive(
    "shaped_activation_derivative",
    _derivative,
    lambda x, activation: _second_derivative(x, activation=activation),
)
shaped_activation_p = _make_primitive(
    "shaped_activation",
    _formula,
    lambda x, activation: _derivative_p.bind(x, activation=activation),
)
