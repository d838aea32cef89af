"""`shape`: any NNX module with marked activations -> the same module, solved and re-initialised."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from zoo.models.layers import scaled_uniform_orthogonal
from zoo.models.network import Network
from zoo.shaping import DKS, EOC, TAT, NotShapableError, ShapedActivation, kernel_graph
from zoo.shaping.roles import Role, RoleError, weight_roles
from zoo.shaping.trace import trace
from zoo.shaping.walk import nested_jaxpr


def shape(
    module: nnx.Module,
    method: DKS | TAT | EOC,
    *example_shapes: tuple[int, ...],
    seed: int = 0,
    dtype: Any = jnp.float32,
) -> Any:
    """A shaped copy of `module`; the original is not changed.

    Every `ShapedActivation` held by the module or its parts is replaced by the one that `method`
    solves for the traced forward pass. Weights begin as the theory asks, by how the forward pass
    uses them: scaled uniform orthogonal matrices for dense layers, the same in the centre tap of
    convolutions (one matrix per group), zeros for what is added. Parameters the forward pass does
    not use and all other state are copied.

    Args:
      module: concrete, or abstract (`nnx.eval_shape`): its weights become concrete.
      method: such as `DKS("softplus")` or `TAT("leaky_relu", eta=0.9)`.
      *example_shapes: shape of each input, batch axis included.
      seed: of the weights.
      dtype: of the inputs.

    Raises:
      NotShapableError: in one sentence, for what has no kernel map (normalisation layers, gates,
        sums that are not normalised, unmarked activations, ...) or no initial distribution.
      UnreachableTargetError: if no constants meet the method's target in this network.

    Example:
      >>> class Net(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.layers = nnx.List([nnx.Linear(64, 64, rngs=rngs) for _ in range(20)])
      ...         self.activation = zoo.ShapedActivation("tanh")
      ...     def __call__(self, x):
      ...         for layer in self.layers:
      ...             x = self.activation(layer(x))
      ...         return x
      >>> shaped = zoo.shape(Net(nnx.Rngs(0)), zoo.DKS("tanh"), (1, 64))

    Source: Martens et al. 2021, arXiv 2110.01765; Zhang et al. 2022, arXiv 2203.08120.
    """
    if not isinstance(module, nnx.Module):
        raise NotShapableError(
            f"shape takes an NNX module, got {type(module).__name__}; for other networks solve "
            "the activation with method.solve(zoo.kernel_graph(function, shape)) and set the "
            "weights yourself"
        )
    solved = method.solve(kernel_graph(module, *example_shapes, dtype=dtype))
    shaped = nnx.clone(module)
    _replace(shaped, solved, set())
    closed = trace(shaped, example_shapes, dtype)
    _check_replaced(closed, solved)
    _initialise(shaped, closed, len(example_shapes), seed)
    if isinstance(shaped, Network):
        shaped.shaping = method
    return shaped


def reinitialise(module: nnx.Module, *example_shapes: tuple[int, ...], seed: int = 0) -> Any:
    """A copy of `module` whose weights begin anew as `shape` begins them; activations are kept.

    Raises:
      NotShapableError: for a weight that the forward pass uses in a way that leaves open how it
        should begin.
    """
    fresh = nnx.clone(module)
    _initialise(fresh, trace(fresh, example_shapes, jnp.float32), len(example_shapes), seed)
    return fresh


def _replace(value: Any, solved: ShapedActivation, seen: set[int]) -> Any:
    """`value` with its activations replaced: modules in place, containers anew where needed."""
    if isinstance(value, ShapedActivation):
        return solved
    if isinstance(value, nnx.Module | nnx.Pytree):
        if id(value) not in seen:
            seen.add(id(value))
            for name, old in list(vars(value).items()):
                new = _replace(old, solved, seen)
                if new is not old:
                    setattr(value, name, new)
        return value
    if isinstance(value, dict):
        new = {key: _replace(item, solved, seen) for key, item in value.items()}
        return new if any(new[key] is not value[key] for key in value) else value
    if isinstance(value, list | tuple):
        items = [_replace(item, solved, seen) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _replace_fields(value, solved, seen)
    return value


def _replace_fields(record: Any, solved: ShapedActivation, seen: set[int]) -> Any:
    names = [field.name for field in dataclasses.fields(record) if field.init]
    pairs = [(name, getattr(record, name, None)) for name in names]
    new = {name: _replace(value, solved, seen) for name, value in pairs}
    changed = {name: new[name] for name, old in pairs if new[name] is not old}
    return dataclasses.replace(record, **changed) if changed else record


def _check_replaced(closed: Any, solved: ShapedActivation) -> None:
    others = sorted({one.phi for one in _applied(closed.jaxpr) if one != solved})
    if others:
        raise NotShapableError(
            f"the network applies {', '.join(others)} from outside its modules, where it cannot be "
            "replaced; keep it as an attribute, as in self.activation = zoo.ShapedActivation(...)"
        )


def _applied(jaxpr: Any) -> set[ShapedActivation]:
    found: set[ShapedActivation] = set()
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "shaped_activation":
            found.add(eqn.params["activation"])
        nested = nested_jaxpr(eqn)
        found |= _applied(getattr(nested, "jaxpr", nested)) if nested is not None else set()
    return found


def _initialise(module: nnx.Module, closed: Any, num_inputs: int, seed: int) -> None:
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    paths = [path for path, _ in flat]
    try:
        roles = weight_roles(closed, len(paths), num_inputs)
    except RoleError as error:
        name = ".".join(map(str, paths[error.weight]))
        raise NotShapableError(f"the parameter {name} {error}") from None
    key = jax.random.key(seed)
    values = []
    for i, (path, variable) in enumerate(flat):
        leaf = variable.get_value()
        if i in roles:
            name = ".".join(map(str, path))
            values.append((path, _initial(name, leaf, roles[i], jax.random.fold_in(key, i))))
    nnx.update(module, nnx.from_flat_state(values))


def _initial(name: str, leaf: Any, role: Role, key: jax.Array) -> jax.Array:
    """Initial weights of the shape and dtype of `leaf`."""
    if role.is_shift:
        return jnp.zeros(leaf.shape, leaf.dtype)
    order = role.stacked + role.spatial + role.inputs + role.outputs
    stacked, spatial, inputs, outputs = (
        tuple(leaf.shape[axis] for axis in axes)
        for axes in (role.stacked, role.spatial, role.inputs, role.outputs)
    )
    if any(size % 2 == 0 for size in spatial):
        raise NotShapableError(
            f"the parameter {name} is a convolution kernel of {spatial}, which has no centre tap; "
            "use odd sizes"
        )
    m, n, layers = math.prod(inputs), math.prod(outputs) // role.groups, math.prod(stacked)
    blocks = _matrices(key, (layers, role.groups), (m, n), leaf.dtype)
    # The outputs of a grouped convolution lie group after group.
    dense = blocks.swapaxes(1, 2).reshape(*stacked, *inputs, *outputs)
    centre = tuple((size - 1) // 2 for size in spatial)
    index = (*[slice(None)] * len(stacked), *centre)
    kernel = jnp.zeros((*stacked, *spatial, *inputs, *outputs), leaf.dtype).at[index].set(dense)
    return kernel.transpose(*(int(axis) for axis in np.argsort(order)))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))  # one compilation a shape
def _matrices(
    key: jax.Array, count: tuple[int, int], shape: tuple[int, int], dtype: Any
) -> jax.Array:
    """Independent matrices, [*count, *shape]."""
    keys = jax.random.split(key, math.prod(count))
    matrices = jax.vmap(lambda one: scaled_uniform_orthogonal(one, shape, dtype))(keys)
    return matrices.reshape(*count, *shape)
