"""What a primitive makes of constants: their value where it is easy to know, and whose they are."""

import dataclasses
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.extend.core import JaxprEqn

from zoo.shaping.axes import groups
from zoo.shaping.signals import Constant, Raw, Value
from zoo.shaping.visitor import shape_of
from zoo.shaping.weights import Weights, cut, overlap, rearranged

# Elements stay where they are.
IN_PLACE = frozenset(
    "convert_element_type reduce_precision copy copy_p stop_gradient optimization_barrier name "
    "sharding_constraint device_put pvary reshard mesh_cast layout_constraint".split()
)
# The same numbers, some of them or all, perhaps repeated.
REARRANGE = IN_PLACE | frozenset(
    "reshape transpose squeeze expand_dims broadcast_in_dim slice dynamic_slice gather rev "
    "split tile".split()
)
_NEUTRAL = IN_PLACE | {"squeeze", "expand_dims"}  # tell nothing of where a number came from
_JOINS = frozenset({"concatenate", "stack"})
_LINEAR = frozenset({"mul", "div", "neg"})
_DRAWS = frozenset(
    "random_seed random_bits random_wrap random_unwrap random_fold_in random_split random_gamma "
    "threefry2x32 rng_bit_generator rng_uniform".split()
)
_LARGEST_IOTA = 1 << 16

_FOLD: dict[str, Callable[..., float]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "max": max,
    "min": min,
    "pow": operator.pow,
    "neg": operator.neg,
    "abs": abs,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "square": lambda x: x * x,
    "exp": math.exp,
    "log": math.log,
    "integer_pow": lambda x, y: x**y,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
    "not": operator.not_,
    "select_n": lambda which, *cases: cases[int(which)],
    "reduce_max": lambda x: x,
    "reduce_min": lambda x: x,
}


def literal(atom: Any, value: Any, weights: Weights) -> Constant:
    """A number by its value, an array as `weights`."""
    if np.ndim(value):
        return Constant(weights=weights, numbers=value)
    dtype = atom.aval.dtype
    if not jnp.issubdtype(dtype, jnp.number) and dtype != np.bool_:
        return Constant()
    return Constant(_shortest(float(value), dtype))


def constant_result(name: str, inputs: list[Constant], eqn: JaxprEqn) -> Constant:
    """The constant a primitive makes of constants."""
    weights = frozenset().union(*(one.weights for one in inputs))
    if weights:
        weights = _traced(name, weights, inputs, eqn)
    return Constant(
        _value(name, inputs, eqn),
        weights,
        _numbers(name, inputs, eqn),
        _changed_by(name, inputs, eqn) if weights else "",
        name in _DRAWS or any(one.is_drawn for one in inputs),
    )


def pieces(constant: Constant, eqn: JaxprEqn) -> list[Constant]:
    """The parts that a split makes of a constant."""
    axis, shape = eqn.params["axis"], shape_of(eqn.invars[0])
    found, start = [], 0
    for size in eqn.params["sizes"]:
        box = _box(shape, {axis: (start, start + size)})
        found.append(dataclasses.replace(constant, weights=cut(constant.weights, *box)))
        start += size
    return found


def element(value: Value, index: int, shape: tuple[int, ...]) -> Value:
    """What a scan hands to its body of an array of `shape` in one iteration."""
    if isinstance(value, Raw):
        return value.rearranged(value.rank - 1)
    if not isinstance(value, Constant) or value.value is not None:
        return value
    weights = cut(value.weights, *_box(shape, {0: (index, index + 1)}))
    if value.numbers is None or np.shape(value.numbers) != shape:
        return dataclasses.replace(value, weights=weights)
    numbers = np.asarray(value.numbers)[index]
    known = float(numbers) if numbers.ndim == 0 and not value.weights else None
    return dataclasses.replace(value, value=known, weights=weights, numbers=numbers)


def drawn_here(values: list[Value]) -> bool:
    """Whether some constant was drawn at random inside the traced function."""
    return any(isinstance(one, Constant) and one.is_drawn for one in values)


def weights_of(values: list[Value]) -> Weights:
    """Weights among constants."""
    found = (one.weights for one in values if isinstance(one, Constant))
    return frozenset().union(*found)


def averaged_over(eqn: JaxprEqn) -> int:
    """Number of elements a sum runs over; dividing by it gives a mean, which keeps the scale."""
    shape = shape_of(eqn.invars[0])
    window = eqn.params.get("window_dimensions")
    return math.prod(window if window else (shape[axis] for axis in eqn.params["axes"]))


def _value(name: str, inputs: list[Constant], eqn: JaxprEqn) -> float | None:
    values = [one.value for one in inputs]
    if name in ("dot_general", "conv_general_dilated", "mul") and 0.0 in values:
        return 0.0
    if name == "iota":
        return 0.0 if eqn.params["shape"][eqn.params["dimension"]] == 1 else None
    if None in values or not values:
        return None
    known = [float(value) for value in values if value is not None]
    try:
        if name in ("reduce_sum", "reduce_window_sum"):
            return known[0] * averaged_over(eqn)
        if name in _FOLD:
            extra = [eqn.params["y"]] if name == "integer_pow" else []
            return float(_FOLD[name](*known, *extra))
    except (ArithmeticError, ValueError):
        return None
    return known[0] if name in REARRANGE else None


def _numbers(name: str, inputs: list[Constant], eqn: JaxprEqn) -> Any:
    if name == "iota" and math.prod(eqn.params["shape"]) <= _LARGEST_IOTA:
        shape, dimension = eqn.params["shape"], eqn.params["dimension"]
        column = np.arange(shape[dimension]).reshape(-1, *[1] * (len(shape) - dimension - 1))
        return np.broadcast_to(column, shape)
    return inputs[0].numbers if inputs and name in REARRANGE else None


def _changed_by(name: str, inputs: list[Constant], eqn: JaxprEqn) -> str:
    """The first primitive that made other numbers of weights than a multiple of them."""
    before = next((one.changed_by for one in inputs if one.changed_by), "")
    if before or name in REARRANGE | _JOINS:
        return before or (name if _repeats(name, inputs, eqn) else "")
    scales = all(one.weights or one.value is not None for one in inputs)
    alone = sum(bool(one.weights) for one in inputs) == 1
    return "" if name in _LINEAR and scales and alone else name


def _repeats(name: str, inputs: list[Constant], eqn: JaxprEqn) -> bool:
    """Whether some number stands in several places afterwards."""
    if name in _JOINS:
        pairs = itertools.combinations((one.weights for one in inputs), 2)
        return any(overlap(*pair) for pair in pairs)
    before, after = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    return name != "split" and math.prod(after) > math.prod(before)


def _traced(name: str, weights: Weights, inputs: list[Constant], eqn: JaxprEqn) -> Weights:
    """`weights` with a note of which part of them was taken."""
    box = _taken(name, inputs, eqn)
    if box is not None:
        return cut(weights, *box)
    if name in _NEUTRAL or name not in REARRANGE or name in ("slice", "dynamic_slice", "gather"):
        return weights
    before, after = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    if name == "reshape" and all(len(a) == len(b) == 1 for a, b in groups(before, after)):
        return weights
    return rearranged(weights, name, after, str(eqn.params.get("permutation")))


def _taken(name: str, inputs: list[Constant], eqn: JaxprEqn) -> tuple[Any, ...] | None:
    """Shape, starts and stops of a slice of which all of this is known."""
    shape = shape_of(eqn.invars[0]) if eqn.invars else ()
    if name == "slice":
        return shape, tuple(eqn.params["start_indices"]), tuple(eqn.params["limit_indices"])
    if name == "dynamic_slice":
        starts, axes = [one.value for one in inputs[1:]], range(len(shape))
    elif name == "gather" and len(shape_of(eqn.invars[1])) == 1:
        axes = eqn.params["dimension_numbers"].start_index_map
        starts = [inputs[1].value] * len(axes)
    else:
        return None
    if None in starts:
        return None
    sizes = eqn.params["slice_sizes"]
    taken = {}
    for axis, start in zip(axes, starts, strict=True):
        first = min(max(int(start or 0), 0), shape[axis] - sizes[axis])
        taken[axis] = (first, first + sizes[axis])
    return _box(shape, taken)


def _box(shape: tuple[int, ...], ranges: dict[int, tuple[int, int]]) -> tuple[Any, ...]:
    starts = tuple(ranges.get(i, (0, n))[0] for i, n in enumerate(shape))
    return shape, starts, tuple(ranges.get(i, (0, n))[1] for i, n in enumerate(shape))


def _shortest(value: float, dtype: np.dtype) -> float:
    """The shortest decimal that `dtype` rounds to `value`: the 0.8 behind bfloat16's 0.80078125."""
    if not math.isfinite(value) or not jnp.issubdtype(dtype, jnp.floating):
        return value
    for digits in range(1, 17):
        short = float(f"{value:.{digits}g}")
        if np.asarray(short, dtype) == np.asarray(value, dtype):
            return short
    return value
