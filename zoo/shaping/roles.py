"""What each weight is to the network it stands in: a dense matrix, a convolution kernel or a shift.

Read off the forward pass (its jaxpr), so it holds for every module, however it names its weights.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from jax.extend.core import ClosedJaxpr, JaxprEqn

from zoo.shaping.constants import IN_PLACE
from zoo.shaping.visitor import Visitor, scan_layout, shape_of

_SUMS = frozenset({"add", "sub", "add_any"})


class RoleError(ValueError):
    """A weight is used in a way that leaves open how it should begin.

    Attributes:
      weight: its position among the arguments of the jaxpr.
    """

    def __init__(self, weight: int, text: str):
        super().__init__(text)
        self.weight = weight


@dataclasses.dataclass(frozen=True)
class Role:
    """How a weight is used; every field holds axes of the weight.

    Attributes:
      inputs: axes that are summed over.
      outputs: axes that are left.
      spatial: taps of a convolution.
      stacked: axes along which independent layers lie, one an index.
      groups: of a convolution; `outputs` holds the groups one after another.
      is_shift: added to a signal: a bias.
    """

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    spatial: tuple[int, ...] = ()
    stacked: tuple[int, ...] = ()
    groups: int = 1
    is_shift: bool = False


@dataclasses.dataclass(frozen=True)
class _View:
    """Weights of one shape, whole or in pieces.

    Attributes:
      weights: their positions.
      rank: number of axes of each.
      axes: for each axis now, the axis of the weight it is, or None for one that was added.
      changed_by: the primitive that made other numbers of it; empty for none.
    """

    weights: tuple[int, ...]
    rank: int
    axes: tuple[int | None, ...]
    changed_by: str = ""


@dataclasses.dataclass(frozen=True)
class _Live:
    """Depends on the network's input; `is_raw` before the first product with a weight."""

    is_raw: bool


_Value = _View | _Live | None


def weight_roles(closed: ClosedJaxpr, num_weights: int, num_inputs: int) -> dict[int, Role]:
    """The role of each of the first `num_weights` arguments of a jaxpr; unused ones have none.

    Args:
      closed: of the network; its arguments are weights, other state, inputs.
      num_weights: number of weights.
      num_inputs: number of inputs.

    Raises:
      RoleError: for a weight that is changed before its product, or used in two ways.
    """
    variables = closed.jaxpr.invars
    ranks = [len(shape_of(variable)) for variable in variables]
    arguments: list[_Value] = [None] * len(variables)
    for i in range(num_weights):
        arguments[i] = _View((i,), ranks[i], tuple(range(ranks[i])))
    for i in range(len(variables) - num_inputs, len(variables)):
        arguments[i] = _Live(is_raw=True)
    visitor = _Roles()
    visitor.run(closed, arguments)
    return visitor.roles


class _Roles(Visitor[_Value]):
    """Follows weights to where they meet the signal."""

    def __init__(self) -> None:
        super().__init__()
        self.roles: dict[int, Role] = {}

    def literal(self, atom: Any, value: Any) -> _Value:
        return None

    def primitive(self, eqn: JaxprEqn, inputs: list[_Value]) -> list[_Value]:
        return [self._result(eqn, inputs)] * len(eqn.outvars)

    def scan(self, eqn: JaxprEqn, inputs: list[_Value]) -> list[_Value]:
        num_carry, num_scanned = scan_layout(eqn)
        first = len(inputs) - num_scanned
        scanned = [
            dataclasses.replace(one, axes=one.axes[1:]) if isinstance(one, _View) else one
            for one in inputs[first:]
        ]
        outputs: list[_Value] = []
        for _ in range(2):  # what enters raw may be a signal from the second iteration on
            outputs = self.run(eqn.params["jaxpr"], inputs[:first] + scanned)
            inputs = [*inputs[: first - num_carry], *outputs[:num_carry], *inputs[first:]]
        return outputs

    def _result(self, eqn: JaxprEqn, inputs: list[_Value]) -> _Value:
        live = [one for one in inputs if isinstance(one, _Live)]
        views = [(i, one) for i, one in enumerate(inputs) if isinstance(one, _View)]
        if not live:
            return _piece(eqn, inputs, [view for _, view in views]) if views else None
        name, is_raw = eqn.primitive.name, all(one.is_raw for one in live)
        for position, view in views:
            role = _ROLES[name](eqn, position, view) if name in _ROLES else None
            if name in _SUMS and not is_raw:
                role = Role(is_shift=True)
            if role is not None:
                _record(self.roles, view, role)
        return _Live(is_raw and not (name in _ROLES and views))


def _record(roles: dict[int, Role], view: _View, role: Role) -> None:
    for weight in view.weights:
        if view.changed_by:
            raise RoleError(
                weight,
                f"passes through {view.changed_by} before it meets the signal, so how it should "
                "begin is open; let the layer use the parameter itself",
            )
        if roles.setdefault(weight, role) != role:
            raise RoleError(weight, "is used in two different ways; give each use its own")


def _dense(eqn: JaxprEqn, position: int, view: _View) -> Role:
    contracted, batch = (pair[position] for pair in eqn.params["dimension_numbers"])
    inputs = _known(view.axes[axis] for axis in contracted)
    outputs = _known(a for i, a in enumerate(view.axes) if i not in (*contracted, *batch))
    return Role(inputs, outputs, stacked=_others(view, inputs + outputs))


def _convolution(eqn: JaxprEqn, position: int, view: _View) -> Role:
    if any(step != 1 for step in eqn.params["lhs_dilation"]) or position != 1:
        raise RoleError(
            view.weights[0],
            "belongs to a transposed convolution, whose centre tap reaches only some locations; "
            "use a convolution after jnp.repeat or jax.image.resize",
        )
    outputs, inputs, *spatial = (view.axes[a] for a in eqn.params["dimension_numbers"].rhs_spec)
    used = [_known([inputs]), _known([outputs]), _known(spatial)]
    return Role(*used, stacked=_others(view, sum(used, ())), groups=_groups(eqn))


def _groups(eqn: JaxprEqn) -> int:
    return eqn.params["feature_group_count"]


_ROLES: dict[str, Callable[[JaxprEqn, int, _View], Role]] = {
    "dot_general": _dense,
    "conv_general_dilated": _convolution,
}


def _known(axes: Any) -> tuple[int, ...]:
    return tuple(axis for axis in axes if axis is not None)


def _others(view: _View, used: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis in range(view.rank) if axis not in used)


def _piece(eqn: JaxprEqn, inputs: list[_Value], views: list[_View]) -> _Value:
    """What a primitive makes of weights and constants: the same numbers elsewhere, or others."""
    weights = tuple(dict.fromkeys(w for view in views for w in view.weights))
    axes = _moved(eqn, views[0].axes) if len(views) == 1 and views[0] is inputs[0] else None
    same = len(views) == len(inputs) and all(view.axes == views[0].axes for view in views)
    if eqn.primitive.name == "concatenate" and same:
        one = views[0].axes
        axes = one if one[eqn.params["dimension"]] is None else None
    if eqn.primitive.name == "stack" and same:
        at = eqn.params["axis"]
        axes = (*views[0].axes[:at], None, *views[0].axes[at:])
    changed_by = next((view.changed_by for view in views if view.changed_by), "")
    if axes is None:
        return _View(
            weights, views[0].rank, (None,) * len(shape_of(eqn.outvars[0])), str(eqn.primitive)
        )
    return _View(weights, views[0].rank, axes, changed_by)


def _moved(eqn: JaxprEqn, axes: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """Axes after `eqn`, or None if it is no mere rearrangement."""
    name, params = eqn.primitive.name, eqn.params
    before, after = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0])
    if name in IN_PLACE:
        return axes
    if name == "transpose":
        return tuple(axes[i] for i in params["permutation"])
    if name == "squeeze":
        return tuple(a for i, a in enumerate(axes) if i not in params["dimensions"])
    if name == "broadcast_in_dim":
        source = dict(zip(params["broadcast_dimensions"], axes, strict=True))
        return tuple(source.get(i) for i in range(len(after)))
    if name == "reshape" and [n for n in before if n != 1] == [n for n in after if n != 1]:
        kept = iter(a for a, n in zip(axes, before, strict=True) if n != 1)
        return tuple(next(kept) if n != 1 else None for n in after)
    if name in ("slice", "dynamic_slice", "gather"):
        return _selected(eqn, axes)
    return None


def _selected(eqn: JaxprEqn, axes: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """Axes after one index is taken of some of them, as in stacked[i]."""
    before = shape_of(eqn.invars[0])
    sizes, collapsed = eqn.params.get("slice_sizes", shape_of(eqn.outvars[0])), ()
    if eqn.primitive.name == "gather":
        collapsed = eqn.params["dimension_numbers"].collapsed_slice_dims
        if len(shape_of(eqn.invars[1])) != 1:
            return None
    if any(size not in (1, full) for size, full in zip(sizes, before, strict=True)):
        return None
    taken = [a if sizes[i] == before[i] else None for i, a in enumerate(axes)]
    return tuple(a for i, a in enumerate(taken) if i not in collapsed)
