"""A network's forward pass (its jaxpr) -> `KernelGraph`, or one sentence why there is none.

The walk follows every value through the jaxpr, entering jit, remat, custom derivatives and scan.
Only shapes are needed: no weight is allocated and nothing runs.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from flax.errors import FlaxError
from jax.extend.core import ClosedJaxpr

from zoo.shaping.assumptions import Assumption, refuse
from zoo.shaping.graph import KernelGraph
from zoo.shaping.refusals import NotShapableError
from zoo.shaping.walk import Walk


def kernel_graph(
    fn_or_module: Callable[..., Any],
    *example_shapes: tuple[int, ...],
    dtype: Any = jnp.float32,
    delta: bool = False,
    strict: bool = False,
) -> KernelGraph:
    """The kernel graph of a network, traced from its forward pass in evaluation mode.

    Everything before the first weight is preprocessing; the theory starts at its result, whose
    channels are what the first layer sums over, else the last axis. Weights are taken to be random
    with zero biases, as at initialisation. A `ShapedActivation` is a nonlinear layer whatever its
    constants are; any other elementwise function of one signal between affine operations is one
    too, integrated as it stands and listed in `KernelGraph.unmarked`: such a network can be
    analysed, but not solved for.

    The maps are those of one location: they hold whatever locations have to do with each other.
    What mixes locations otherwise than a layer does (pooling, resizing, padding) or channels that
    are few or unlike is listed in `KernelGraph.assumptions`, as the maps do not know its effect.

    Args:
      fn_or_module: an NNX module, concrete or abstract (`nnx.eval_shape`); a Linen module, no
        variables needed; a callable pytree such as an Equinox module; or a function of the inputs,
        whose weights are the arrays that it closes over. Returns one array.
      *example_shapes: shape of each input, batch axis included.
      dtype: of the inputs.
      delta: whether kernels of convolutions begin as `zoo.shape` begins them, zero but for their
        centre tap, so that zero padding is harmless; else all their taps are random.
      strict: refuse what rests on assumptions.

    Returns:
      Chains, normalised sums, concatenations and products of nonlinear layers.

    Raises:
      NotShapableError: in one sentence, with the place, for whatever has no kernel map: sums that
        are not normalised, normalisation layers, attention, ...
      ValueError: for shapes or a type that no input has.

    Example:
      >>> module = nnx.eval_shape(lambda: MyNetwork(rngs=nnx.Rngs(0)))
      >>> kernel_graph(module, (1, 224, 224, 3)).nonlinear_depth
      49
    """
    traced = trace(fn_or_module, example_shapes, dtype)
    walk = Walk(delta, traced.closes_over_weights)
    graph = walk.graph(traced.closed, traced.num_weights, traced.num_inputs)
    graph = dataclasses.replace(graph, assumptions=traced.assumptions + graph.assumptions)
    if strict:
        refuse(graph.assumptions)
    return graph


@dataclasses.dataclass(frozen=True)
class Traced:
    """The forward pass of a network in evaluation mode.

    Attributes:
      closed: its jaxpr; arguments are weights, other state, inputs.
      num_weights: leaves of `nnx.state(module, nnx.Param)`, or arrays of another pytree.
      num_inputs: of the network.
      closes_over_weights: whether the arrays that it holds are its weights.
      assumptions: what evaluation mode leaves out.
    """

    closed: ClosedJaxpr
    num_weights: int
    num_inputs: int
    closes_over_weights: bool = False
    assumptions: tuple[Assumption, ...] = ()


def trace(
    fn_or_module: Callable[..., Any], example_shapes: tuple[tuple[int, ...], ...], dtype: Any
) -> Traced:
    """The forward pass of a network, traced without running it."""
    inputs = _inputs(example_shapes, dtype)
    shapes = ", ".join(str(tuple(shape)) for shape in example_shapes)
    try:
        apply, weights, state = _opened(fn_or_module, inputs)
        closed = jax.make_jaxpr(apply)(weights, state, *inputs)
    except NotShapableError:
        raise
    except jax.errors.TracerArrayConversionError:
        raise NotShapableError(
            "the network hands a signal to NumPy, where it cannot be followed; compute with "
            "jax.numpy"
        ) from None
    except jax.errors.ConcretizationTypeError:
        raise NotShapableError(
            "the network reads values of a signal in Python (if, while, int), so it is not one "
            "network; decide by shapes and options"
        ) from None
    except (TypeError, ValueError, RuntimeError, FlaxError) as error:
        first_line = str(error).partition("\n")[0].rstrip(" .:")
        raise NotShapableError(
            f"the network does not run on inputs of shape {shapes}, {jnp.dtype(dtype)}: "
            f"{first_line}; pass the shapes and the dtype that it takes, batch axis included"
        ) from error
    is_function = not isinstance(fn_or_module, nnx.Module) and not jax.tree.leaves(weights)
    count = len(jax.tree.leaves(weights))
    return Traced(closed, count, len(inputs), is_function, _left_out(fn_or_module))


def is_array(leaf: Any) -> bool:
    """Whether a leaf of a pytree is an array, concrete or abstract."""
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _opened(network: Any, inputs: list[Any]) -> tuple[Callable[..., Any], Any, Any]:
    """A function of (weights, other state, *inputs), and abstract weights and state."""
    if isinstance(network, nnx.Module):
        graphdef, weights, state = nnx.split(network, nnx.Param, ...)

        def merged(weights: nnx.State, state: nnx.State, *inputs: jax.Array) -> Any:
            module = nnx.merge(graphdef, weights, state)
            module.eval()
            return module(*inputs)

        return merged, jax.tree.map(_abstract, weights), jax.tree.map(_abstract, state)
    if isinstance(network, linen.Module) and network.scope is None:
        variables = jax.eval_shape(network.init, jax.random.key(0), *inputs)
        weights = {"params": variables.pop("params", {})}
        return lambda w, s, *x: network.apply({**w, **s}, *x), weights, dict(variables)
    if isinstance(network, type) or not callable(network):
        given = (
            f"the class {network.__name__}" if isinstance(network, type) else type(network).__name__
        )
        raise NotShapableError(
            f"kernel_graph takes a module or a function of the inputs, got {given}; build the "
            "network first, or wrap it in a function"
        )
    leaves, structure = jax.tree.flatten(network)

    def rebuilt(arrays: list[jax.Array], _: Any, *inputs: jax.Array) -> Any:
        rest = iter(arrays)
        filled = [next(rest) if is_array(leaf) else leaf for leaf in leaves]
        return jax.tree.unflatten(structure, filled)(*inputs)

    return rebuilt, [_abstract(leaf) for leaf in leaves if is_array(leaf)], None


def _left_out(network: Any) -> tuple[Assumption, ...]:
    """Dropout of an NNX module in training mode: it divides q and cosines by what it keeps."""
    if not isinstance(network, nnx.Module):
        return ()
    modules = (module for _, module in nnx.iter_modules(network))
    rates = {m.rate for m in modules if isinstance(m, nnx.Dropout) and not m.deterministic}
    return tuple(
        Assumption(
            "dropout",
            f"drops out {rate:.4g} of a signal in training, which makes its q value "
            f"{1 / (1 - rate):.4g} times as large and its cosines {1 - rate:.4g} times; the maps "
            "are those without dropout",
            "call module.eval() to take it as it evaluates",
        )
        for rate in sorted(rates)
        if 0 < rate < 1
    )


def _inputs(example_shapes: tuple[tuple[int, ...], ...], dtype: Any) -> list[Any]:
    if not example_shapes:
        raise ValueError("no input was described; pass the shape of each, such as (1, 224, 224, 3)")
    for shape in example_shapes:
        sizes = shape if isinstance(shape, tuple | list) else ()
        if not sizes or not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError(
                f"the example shape {shape!r} holds no whole numbers >= 1; pass one tuple for each "
                "input, such as (1, 224, 224, 3)"
            )
    if not jnp.issubdtype(dtype, jnp.floating) and not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            f"dtype={jnp.dtype(dtype)} has no kernel maps; use a real type such as float32, and "
            "split complex inputs into two channels"
        )
    return [jax.ShapeDtypeStruct(tuple(shape), dtype) for shape in example_shapes]


def _abstract(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if is_array(leaf) else leaf
