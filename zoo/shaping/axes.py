"""Which axes of a signal hold locations and which channels, through every rearrangement.

One letter an axis: "l" locations or examples, "c" channels, "m" both, as after flattening.
"""

import math
from collections.abc import Sequence
from typing import Any

from jax.extend.core import JaxprEqn

from zoo.shaping.visitor import shape_of

CHANNELS = frozenset("cm")


def last_axis(rank: int) -> str:
    """Channels in the last axis."""
    return "l" * (rank - 1) + "c" if rank else ""


def axes_after(eqn: JaxprEqn, axes: str) -> str:
    """Axes of the result of a primitive that rearranges, drops, repeats or reduces."""
    name, params = eqn.primitive.name, eqn.params
    if name == "transpose":
        return "".join(axes[i] for i in params["permutation"])
    if name == "squeeze":
        return _without(axes, params["dimensions"])
    if name.startswith("reduce_") and "axes" in params:
        return _without(axes, params["axes"])
    if name == "broadcast_in_dim":
        source = dict(zip(params["broadcast_dimensions"], axes, strict=True))
        return "".join(source.get(i, "l") for i in range(len(shape_of(eqn.outvars[0]))))
    if name == "reshape":
        return _reshaped(axes, shape_of(eqn.invars[0]), shape_of(eqn.outvars[0]))
    if name == "gather":
        return _gathered(eqn, axes)
    return axes


def channel_axes(axes: str) -> list[int]:
    """Positions of the axes that hold channels."""
    return [i for i, axis in enumerate(axes) if axis in CHANNELS]


def taken_axes(eqn: JaxprEqn) -> list[int]:
    """Axes of the first operand of which a slice, gather, split or reversal takes a part."""
    name, params, before = eqn.primitive.name, eqn.params, shape_of(eqn.invars[0])
    if name == "split":
        return [params["axis"]]
    if name == "rev":
        return list(params["dimensions"])
    if name == "gather":
        return [i for i, size in enumerate(params["slice_sizes"]) if size != before[i]]
    after = shape_of(eqn.outvars[0])
    return [i for i, size in enumerate(before) if size != after[i]]


def groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Axes before and after a reshape that hold the same elements; axes of size 1 are left out."""
    left = [i for i, size in enumerate(before) if size != 1]
    right = [i for i, size in enumerate(after) if size != 1]
    found = []
    while left and right:
        old, new = [left.pop(0)], [right.pop(0)]
        while (a := math.prod(before[i] for i in old)) != (b := math.prod(after[i] for i in new)):
            if a < b:
                old.append(left.pop(0))
            else:
                new.append(right.pop(0))
        found.append((old, new))
    return found


def _reshaped(axes: str, before: Sequence[int], after: Sequence[int]) -> str:
    """A mixture of locations and channels is flat input if no channels are left beside it."""
    kinds: dict[int, str] = {}
    for old, new in groups(before, after):
        held = {axes[i] for i in old}
        kinds.update(dict.fromkeys(new, held.pop() if len(held) == 1 else _merged(held)))
    has_channels = "c" in kinds.values()
    result = ["l"] * len(after)
    for i, kind in kinds.items():
        result[i] = kind if kind != "?" else ("l" if has_channels else "m")
    if not set(result) & {"c", "m"} and CHANNELS & set(axes) and after and after[-1] == 1:
        result[-1] = "c"  # a single channel
    return "".join(result)


def _merged(held: set[str]) -> str:
    return "m" if "m" in held else "?"


def _gathered(eqn: JaxprEqn, axes: str) -> str:
    numbers: Any = eqn.params["dimension_numbers"]
    dropped = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    kept = iter(axis for i, axis in enumerate(axes) if i not in dropped)
    lost = {axes[i] for i in dropped} & CHANNELS
    indexed = "c" if lost == {"c"} and "c" not in _without(axes, dropped) else "m" if lost else "l"
    rank = len(shape_of(eqn.outvars[0]))
    return "".join(next(kept) if i in numbers.offset_dims else indexed for i in range(rank))


def _without(axes: str, dropped: Sequence[int]) -> str:
    return "".join(axis for i, axis in enumerate(axes) if i not in dropped)
