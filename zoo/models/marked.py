"""The marked activations of a module: which it applies, and the same module with others."""

import dataclasses
from typing import Any

import jax
from flax import nnx
from jax.extend.core import Jaxpr

from zoo.shaping import NotShapableError, ShapedActivation
from zoo.shaping.visitor import all_equations

Solutions = dict[str, ShapedActivation]
"""What to put in place of an activation, by its phi."""


def applied(jaxpr: Jaxpr) -> list[ShapedActivation]:
    """The marked activations that a forward pass applies, each once, in order."""
    marked = (eqn for eqn in all_equations(jaxpr) if eqn.primitive.name == "shaped_activation")
    return list(dict.fromkeys(eqn.params["activation"] for eqn in marked))


def with_activations(module: Any, solutions: Solutions) -> Any:
    """A copy of `module`, an NNX module or a pytree, with its activations replaced."""
    if isinstance(module, nnx.Module):
        return _replace(nnx.clone(module), solutions, set())
    return jax.tree.map(lambda leaf: _replaced(leaf, solutions), module)


def _replaced(leaf: Any, solutions: Solutions) -> Any:
    return solutions.get(leaf.phi, leaf) if isinstance(leaf, ShapedActivation) else leaf


def check_replaced(jaxpr: Jaxpr, solutions: Solutions) -> None:
    """Refuses a forward pass that applies an activation which could not be replaced.

    Raises:
      NotShapableError: names the activations.
    """
    others = sorted({one.phi for one in set(applied(jaxpr)) - set(solutions.values())})
    if others:
        raise NotShapableError(
            f"the network applies {', '.join(others)} from outside its modules, where it cannot be "
            "replaced; keep it as an attribute, as in self.activation = zoo.ShapedActivation(...)"
        )


def _replace(value: Any, solutions: Solutions, seen: set[int]) -> Any:
    """`value` with its activations replaced: modules in place, containers anew where needed."""
    if isinstance(value, ShapedActivation):
        return _replaced(value, solutions)
    if isinstance(value, nnx.Module | nnx.Pytree):
        if id(value) not in seen:
            seen.add(id(value))
            for name, old in list(vars(value).items()):
                new = _replace(old, solutions, seen)
                if new is not old:
                    setattr(value, name, new)
        return value
    if isinstance(value, dict):
        new = {key: _replace(item, solutions, seen) for key, item in value.items()}
        return new if any(new[key] is not value[key] for key in value) else value
    if isinstance(value, list | tuple):
        items = [_replace(item, solutions, seen) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _replace_fields(value, solutions, seen)
    return value


def _replace_fields(record: Any, solutions: Solutions, seen: set[int]) -> Any:
    names = [field.name for field in dataclasses.fields(record) if field.init]
    pairs = [(name, getattr(record, name, None)) for name in names]
    new = {name: _replace(value, solutions, seen) for name, value in pairs}
    changed = {name: new[name] for name, old in pairs if new[name] is not old}
    return dataclasses.replace(record, **changed) if changed else record
