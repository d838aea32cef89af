"""A network's forward pass (its jaxpr) -> `KernelGraph`, or one sentence why there is none.

The walk follows every value through the jaxpr, entering jit, remat, custom derivatives and scan.
Only shapes are needed: no weight is allocated and nothing runs.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.shaping.graph import KernelGraph
from zoo.shaping.walk import Walk


def kernel_graph(
    fn_or_module: Callable[..., Any] | nnx.Module,
    *example_shapes: tuple[int, ...],
    dtype: Any = jnp.float32,
) -> KernelGraph:
    """The kernel graph of a network, traced from its forward pass in evaluation mode.

    Everything before the first weight is preprocessing; the theory starts at its result. Weights
    are taken to be random with zero biases, as at initialisation. A `ShapedActivation` is a
    nonlinear layer whatever its constants are; any other elementwise function of one signal between
    affine operations is one too, integrated as it stands and listed in `KernelGraph.unmarked`: such
    a network can be analysed, but not solved for. Channels are the last axis.

    Args:
      fn_or_module: an NNX module, concrete or abstract (`nnx.eval_shape`), or a function of the
        inputs; arrays that the function closes over are its weights. Returns one array.
      *example_shapes: shape of each input, batch axis included.
      dtype: of the inputs.

    Returns:
      Chains, normalised sums and concatenations of nonlinear layers.

    Raises:
      NotShapableError: in one sentence, with the place, for whatever has no kernel map: sums that
        are not normalised, normalisation layers, gates, attention, ...

    Example:
      >>> module = nnx.eval_shape(lambda: MyNetwork(rngs=nnx.Rngs(0)))
      >>> kernel_graph(module, (1, 224, 224, 3)).nonlinear_depth
      49
    """
    return Walk().graph(trace(fn_or_module, example_shapes, dtype), len(example_shapes))


def trace(
    fn_or_module: Callable[..., Any] | nnx.Module,
    example_shapes: tuple[tuple[int, ...], ...],
    dtype: Any,
) -> Any:
    """The closed jaxpr of a network in evaluation mode.

    Its arguments are, for a module, the leaves of `nnx.state(module, nnx.Param)` and of all other
    state, then the inputs; for a function the inputs only.
    """
    if not example_shapes:
        raise ValueError("kernel_graph needs the shape of each input, such as (1, 224, 224, 3)")
    inputs = [jax.ShapeDtypeStruct(tuple(shape), dtype) for shape in example_shapes]
    if not isinstance(fn_or_module, nnx.Module):
        return jax.make_jaxpr(fn_or_module)(*inputs)
    graphdef, *states = nnx.split(fn_or_module, nnx.Param, ...)

    def apply(states: list[nnx.State], *inputs: jax.Array) -> Any:
        module = nnx.merge(graphdef, *states)
        module.eval()
        return module(*inputs)

    return jax.make_jaxpr(apply)(jax.tree.map(_abstract, states), *inputs)


def _abstract(leaf: Any) -> Any:
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return leaf
