"""Unmarked nonlinearities: elementwise subprograms of a forward pass, integrated as they stand.

`Program` records the primitives between two affine operations; `Elementwise` is what they compute,
with the derivatives and the jumps that the quadrature of `kernel_maps` needs.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.shaping.pointwise import ACTIVATIONS, Jet, Pointwise

_GRID = np.linspace(-12.0, 12.0, 4802)  # an even number of points: none on a whole number
_BISECTIONS = 40
_MATCH = 1e-6  # relative; constants written in a network are rounded to float32


@dataclasses.dataclass(frozen=True)
class Program:
    """An elementwise function of one value, as a tree of primitives.

    Attributes:
      eqn: the equation that computes it; None for the leaves.
      arguments: programs and numbers; of a leaf its factor: factor * x.
    """

    eqn: Any
    arguments: tuple["Program | float", ...]

    @property
    def signature(self) -> tuple[Any, ...]:
        """Equal for programs of the same primitives and numbers."""
        parts = (a.signature if isinstance(a, Program) else a for a in self.arguments)
        own: tuple[Any, ...] = ()
        if self.eqn not in (None, _SCALE):
            own = (self.eqn.primitive.name, str(self.eqn.params))
        return (*own, *parts)

    @property
    def primitives(self) -> dict[str, None]:
        """Names of its primitives, in order, each once."""
        parts = [a.primitives for a in self.arguments if isinstance(a, Program)]
        own = {self.eqn.primitive.name: None} if self.eqn not in (None, _SCALE) else {}
        return {name: None for part in [*parts, own] for name in part}

    def scaled(self, factor: float) -> "Program":
        """`factor` times this."""
        return self if factor == 1 else Program(_SCALE, (self, factor))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Values at `x`, float64."""
        values: dict[int, jax.Array] = {}

        def value(one: Program) -> jax.Array:
            if id(one) not in values:
                values[id(one)] = one._compute([*map(value_or_number, one.arguments)], x)
            return values[id(one)]

        def value_or_number(one: "Program | float") -> Any:
            return value(one) if isinstance(one, Program) else one

        return value(self)

    def _compute(self, arguments: list[Any], x: jax.Array) -> jax.Array:
        if self.eqn is None:
            return arguments[0] * x
        if self.eqn is _SCALE:
            return arguments[0] * arguments[1]
        if self.eqn.primitive.name == "convert_element_type":
            return arguments[0].astype(_wide(self.eqn.params["new_dtype"]))
        operands = [
            jnp.broadcast_to(jnp.asarray(one, _wide(variable.aval.dtype)), x.shape)
            for one, variable in zip(arguments, self.eqn.invars, strict=True)
        ]
        return self.eqn.primitive.bind(*operands, **self.eqn.params)


_SCALE: Any = object()


@dataclasses.dataclass(frozen=True)
class Elementwise:
    """An unmarked nonlinearity; the functions of `kernel_maps` take it like a `ShapedActivation`.

    Attributes:
      phi: what it computes: a name in `ACTIVATIONS`, with a factor where it has one, or the
        primitives it is made of.
      fingerprint: of its values and breaks, which tells functions apart.
      definition: values, derivatives and jumps.
      refusal: why it cannot be shaped, and where it stands.
      jumps: whether its values jump, so that the slope C'(1) is infinite.
    """

    phi: str
    fingerprint: str
    definition: Pointwise = dataclasses.field(compare=False, repr=False)
    refusal: str = dataclasses.field(compare=False, repr=False)
    jumps: bool = False
    input_scale: float = 1.0
    input_shift: float = 0.0
    output_scale: float = 1.0
    output_shift: float = 0.0
    negative_slope: float | None = None


def elementwise(program: Program, called: str, refusal: str) -> Elementwise:
    """The function that `program` computes.

    Args:
      program: of one value.
      called: its name where the forward pass gives one, else its first primitive.
      refusal: kept for `Elementwise.refusal`.
    """

    def derivative(function: Callable[[jax.Array], jax.Array]) -> Callable[..., jax.Array]:
        return lambda x: jax.jvp(function, (x,), (jnp.ones_like(x),))[1]

    functions: list[Callable[..., jax.Array]] = [lambda x: program(x).astype(x.dtype)]
    for _ in range(3):
        functions.append(derivative(functions[-1]))

    def values(order: int, x: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(functions[order](jnp.asarray(x, jnp.float64)))

    def jet(x: np.ndarray) -> Jet:
        return values(0, x), values(1, x), values(2, x)

    jumps = [_jumps(values, order) for order in range(3)]
    definition = Pointwise(
        called,
        functions[0],
        jet,
        breaks=tuple(sorted({one for some in jumps for one in some})),
        kinked=bool(jumps[0] or jumps[1]),
    )
    sampled = values(0, _GRID)
    return Elementwise(
        _label(sampled, called, program.primitives),
        _fingerprint(sampled, definition.breaks),
        definition,
        refusal,
        bool(jumps[0]),
    )


def _fingerprint(sampled: np.ndarray, breaks: tuple[float, ...]) -> str:
    """sha256 of the values on the grid and of the breaks, to 9 digits."""
    numbers = np.concatenate([sampled, breaks])
    with np.errstate(divide="ignore"):
        digits = np.nan_to_num(np.floor(np.log10(np.abs(numbers))), neginf=0.0, posinf=0.0)
    return hashlib.sha256(np.rint(numbers * 10.0 ** (8 - digits)).tobytes()).hexdigest()


def _jumps(values: Callable[[int, np.ndarray], np.ndarray], order: int) -> tuple[float, ...]:
    """Where the derivative of this order jumps, found on a grid and refined by bisection."""
    here, slope = (np.nan_to_num(values(order + i, _GRID)) for i in (0, 1))
    scale = max(float(np.max(np.abs(here))), 1e-12)
    step = _GRID[1] - _GRID[0]
    steepest = np.maximum(np.abs(slope[1:]), np.abs(slope[:-1]))
    suspects = np.flatnonzero(np.abs(np.diff(here)) > 3 * step * steepest + 1e-7 * scale)
    low, high = _GRID[suspects], _GRID[suspects + 1]
    if not low.size:
        return ()
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        at = np.nan_to_num(values(order, np.stack([low, middle, high])))
        left = np.abs(at[1] - at[0]) >= np.abs(at[2] - at[1])
        low, high = np.where(left, low, middle), np.where(left, middle, high)
    gap = np.abs(np.nan_to_num(values(order, high)) - np.nan_to_num(values(order, low)))
    return tuple(float(round(x, 9)) + 0.0 for x in low[gap > 1e-6 * scale])


def _label(sampled: np.ndarray, called: str, primitives: Iterable[str]) -> str:
    """Name in the table up to a factor, or what the forward pass calls it."""
    largest = float(np.max(np.abs(sampled))) or 1.0
    for name, known in ACTIVATIONS.items():
        if name in ("leaky_relu", "silu"):
            continue
        values = known.jet(_GRID)[0]
        factor = float(sampled @ values / (values @ values))
        if np.max(np.abs(sampled - factor * values)) < _MATCH * largest:
            return _scaled_name(factor, name)
    above, below = sampled[-1] / _GRID[-1], sampled[0] / _GRID[0]
    straight = np.where(_GRID > 0, above, below) * _GRID
    if below * above > 0 and np.max(np.abs(sampled - straight)) < _MATCH * largest:
        return _scaled_name(above, f"leaky_relu(negative_slope={below / above:.4g})")
    if called not in primitives and called not in ACTIVATIONS:
        return called
    return called if list(primitives) == [called] else f"elementwise({', '.join(primitives)})"


def _scaled_name(factor: float, name: str) -> str:
    return name if abs(factor - 1) < _MATCH else f"{factor:.4g} {name}"


def _wide(dtype: Any) -> Any:
    return jnp.float64 if jnp.issubdtype(dtype, jnp.floating) else dtype
