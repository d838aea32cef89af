"""`shape`: a module with marked activations -> the same module, solved and re-initialised."""

import dataclasses
import functools
import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax.extend.core import ClosedJaxpr

from zoo.cpu import require_right_results
from zoo.models.layers import scaled_uniform_orthogonal
from zoo.models.marked import Solutions, applied, check_replaced, with_activations
from zoo.shaping import ACTIVATIONS, DKS, EOC, TAT, KernelGraph, NotShapableError, kernel_graph
from zoo.shaping.assumptions import AssumptionWarning, refuse
from zoo.shaping.roles import Role, RoleError, weight_roles
from zoo.shaping.solved import solve_once
from zoo.shaping.trace import is_array, trace

Method = DKS | TAT | EOC

_USE_BRIDGE = "pass nnx.bridge.ToNNX(module, rngs=nnx.Rngs(0)).lazy_init(input)"
_USE_SOLVE = (
    "solve the activation by method.solve(zoo.kernel_graph(function, shape)) and set the weights "
    "yourself"
)


def shape(
    module: Any,
    method: Method,
    *example_shapes: tuple[int, ...],
    per_kind: bool = False,
    seed: int = 0,
    dtype: Any = jnp.float32,
    strict: bool = True,
) -> Any:
    """A shaped copy of `module`; the original is not changed.

    Every `ShapedActivation` held by the module or its parts is replaced by the one that `method`
    solves for the traced forward pass; with `per_kind`, by one for each kind that the network has
    (all meet the same conditions, so they mix). Weights begin as the theory asks, by how the
    forward pass uses them: scaled uniform orthogonal matrices for dense layers, the same in the
    centre tap of convolutions (one matrix per group), zeros for what is added. Parameters that the
    forward pass does not use and all other state are copied.

    Args:
      module: an NNX module or a callable pytree, such as an Equinox module; concrete, or abstract
        (`nnx.eval_shape`): its weights become concrete.
      method: such as `DKS("softplus")` or `TAT("leaky_relu", eta=0.9)`.
      *example_shapes: shape of each input, batch axis included.
      per_kind: keep tanh a tanh and softplus a softplus, instead of `method.activation` for all.
      seed: of the weights.
      dtype: of the inputs.
      strict: refuse what moves q values or cosines by an amount that the maps do not know, such as
        pooling between layers; else warn of it (`AssumptionWarning`). What only the output rests
        on, such as a mean over locations before the head, is never refused: no constant depends on
        it. `kernel_graph(module, *example_shapes, delta=True).assumptions` lists all.

    Raises:
      NotShapableError: in one sentence, for what has no kernel map (normalisation layers, gates,
        sums that are not normalised, unmarked activations, ...) or no initial distribution, and
        with `strict` for what rests on assumptions.
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
    if not isinstance(module, nnx.Module) and (_is_leaf(module) or not callable(module)):
        raise NotShapableError(
            f"shape takes an NNX module or a callable pytree, got {type(module).__name__}; "
            + (_USE_BRIDGE if isinstance(module, linen.Module) else _USE_SOLVE)
        )
    require_right_results()
    kinds = {one.phi for one in applied(trace(module, example_shapes, dtype).closed.jaxpr)}
    graph = kernel_graph(module, *example_shapes, dtype=dtype, delta=True)
    _check_assumptions(graph, strict)
    if per_kind:
        solutions = _solutions(method, graph, kinds)
    else:
        solutions = dict.fromkeys(ACTIVATIONS, solve_once(method, graph))
    shaped = with_activations(module, solutions)
    closed = trace(shaped, example_shapes, dtype).closed
    check_replaced(closed.jaxpr, solutions)
    return _initialised(shaped, closed, len(example_shapes), seed)


def reinitialise(module: Any, *example_shapes: tuple[int, ...], seed: int = 0) -> Any:
    """A copy of `module` whose weights begin anew as `shape` begins them; activations are kept.

    Raises:
      NotShapableError: for a weight that the forward pass uses in a way that leaves open how it
        should begin.
    """
    fresh = nnx.clone(module) if isinstance(module, nnx.Module) else module
    closed = trace(fresh, example_shapes, jnp.float32).closed
    return _initialised(fresh, closed, len(example_shapes), seed)


def _check_assumptions(graph: KernelGraph, strict: bool) -> None:
    """Refuses or warns of what the constants rest on."""
    found = [one for one in graph.assumptions if not one.at_output]
    if strict:
        refuse(found)
    for one in found:
        warnings.warn(f"shape takes for granted, {one}", AssumptionWarning, stacklevel=3)


def _is_leaf(module: Any) -> bool:
    return jax.tree_util.treedef_is_leaf(jax.tree.structure(module))


def _solutions(method: Method, graph: KernelGraph, kinds: set[str]) -> Solutions:
    """One activation for each kind."""
    if isinstance(method, TAT) and "leaky_relu" in kinds and len(kinds) > 1:
        others = ", ".join(sorted(kinds - {"leaky_relu"}))
        raise NotShapableError(
            f"the network applies leaky_relu and {others}, which TAT shapes by different targets "
            "(eta and tau); use one of them throughout, or DKS for both"
        )
    return {
        phi: solve_once(dataclasses.replace(method, activation=phi), graph) for phi in sorted(kinds)
    }


def _initialised(module: Any, closed: ClosedJaxpr, num_inputs: int, seed: int) -> Any:
    """`module` with its weights begun anew."""
    if isinstance(module, nnx.Module):
        flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
        leaves = [(".".join(map(str, path)), one.get_value()) for path, one in flat]
        begun = zip(flat, _begun(leaves, closed, num_inputs, seed), strict=True)
        nnx.update(module, nnx.from_flat_state([(path, leaf) for (path, _), leaf in begun]))
        return module
    with_names, structure = jax.tree_util.tree_flatten_with_path(module)
    leaves = [(_name(path), leaf) for path, leaf in with_names if is_array(leaf)]
    arrays = iter(_begun(leaves, closed, num_inputs, seed))
    filled = [next(arrays) if is_array(leaf) else leaf for _, leaf in with_names]
    return jax.tree.unflatten(structure, filled)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path).lstrip(".")


def _begun(
    leaves: list[tuple[str, Any]], closed: ClosedJaxpr, num_inputs: int, seed: int
) -> list[Any]:
    """The leaves, given by name, with initial values where the forward pass uses them."""
    try:
        roles = weight_roles(closed, len(leaves), num_inputs)
    except RoleError as error:
        name = leaves[error.weight][0]
        raise NotShapableError(f"the parameter {name} {error}") from None
    key = jax.random.key(seed)
    return [
        _initial(name, leaf, roles[i], jax.random.fold_in(key, i)) if i in roles else leaf
        for i, (name, leaf) in enumerate(leaves)
    ]


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
