"""`Tapped`: a network run so that everything its affine layers read comes out, and can be changed.

What a dense layer or a convolution reads is one signal of the kernel graph, so each such value is
where a measurement and a prediction meet.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.extend.core import JaxprEqn

from zoo.models.marked import applied
from zoo.shaping import KernelGraph, ShapedActivation
from zoo.shaping.affine import AFFINE
from zoo.shaping.preprocessing import input_of
from zoo.shaping.signals import Constant
from zoo.shaping.sums import single
from zoo.shaping.trace import trace
from zoo.shaping.visitor import Visitor, scan_layout
from zoo.shaping.walk import Walk
from zoo.shaping.weights import new_weights

Network = Callable[..., Any] | nnx.Module
Pair = tuple[Any, bool]


@dataclasses.dataclass(frozen=True)
class Tap:
    """One place of a network.

    Attributes:
      depth: nonlinear layers on the longest path from the input to here.
      graph: kernel graph of what is computed up to here.
      node: number of the signal in the graph of the whole network.
      scale: q value here over that of the node, the square of a factor that follows it.
      is_assumed: whether something was taken for granted on the way, so that nothing is promised.
    """

    depth: int
    graph: KernelGraph
    node: int
    scale: float
    is_assumed: bool


class Tapped:
    """A network of one input as a function of weights, input and offsets at its taps.

    Args:
      network: an NNX module or a function, in evaluation mode.
      shape: of its input, batch axis first.
    """

    def __init__(self, network: Network, shape: tuple[int, ...]) -> None:
        self.shape = tuple(shape)
        self._closed = trace(network, (self.shape,), jnp.float32).closed

    def __call__(
        self, weights: list[Any], inputs: jax.Array, offsets: list[Any] | None = None
    ) -> tuple[Any, list[jax.Array]]:
        """The output, and the taps in the order they are computed, `offsets` added to them."""
        run = _Run(offsets)
        arguments = [(weight, False) for weight in weights] + [(inputs, True)]
        (output, *_) = run.run(self._closed, arguments)
        return run.current(output)[0], run.taps

    def places(
        self, weights: list[Any], num_params: int, delta: bool
    ) -> tuple[list[Tap], KernelGraph]:
        """For each tap its place, last that of the output as one more layer would read it.

        Args:
          weights: of `weights_of`.
          num_params: how many of them are parameters; the others are numbers.
          delta: whether convolutions begin by their centre tap.

        Returns:
          The places, and the graph of the whole network that their nodes are numbered in.

        Raises:
          NotShapableError: for a network without kernel graph.
        """

        def flat(last: Any, weights: list[Any], inputs: Any) -> list[jax.Array]:
            output, taps = self(weights, inputs)
            return [*taps, output @ last]

        inputs = jax.ShapeDtypeStruct(self.shape, jnp.float32)
        output, taps = jax.eval_shape(self, weights, inputs)
        last = jax.ShapeDtypeStruct((output.shape[-1], 1), jnp.float32)
        closed = jax.make_jaxpr(flat)(last, weights, inputs)
        walk = Walk(delta)
        count = len(closed.jaxpr.invars) - 2 - num_params
        given = [Constant(weights=new_weights()) for _ in range(1 + num_params)]
        values = walk.run(closed, [*given, *[Constant()] * count, input_of(len(self.shape))])
        places = []
        for term in (single(walk.as_signal(one)) for one in values):
            graph = walk.builder.graph(term.node, term.assumed)
            is_assumed = bool(graph.assumptions)
            depth = walk.builder.depths[term.node]
            places.append(Tap(depth, graph, term.node, term.weight**2, is_assumed))
        return places, walk.builder.whole()

    def activations(self) -> list[ShapedActivation]:
        """The marked activations it applies, each once."""
        return applied(self._closed.jaxpr)


def weights_of(network: Network) -> list[Any]:
    """The weights that `Tapped` takes; none for a function, which closes over its own."""
    if not isinstance(network, nnx.Module):
        return []
    return jax.tree.leaves(list(nnx.split(network, nnx.Param, ...)[1:]))


def weight_names(network: Network) -> list[str]:
    """Attribute paths of the parameters, which come first in `weights_of`."""
    if not isinstance(network, nnx.Module):
        return []
    paths = [path for path, _ in nnx.to_flat_state(nnx.state(network, nnx.Param))]
    return [".".join(map(str, path)) for path in paths]


class _Run(Visitor[Pair]):
    """One pass through a jaxpr; values come as pairs (value, whether it depends on the input)."""

    def __init__(self, offsets: list[Any] | None) -> None:
        super().__init__()
        self.taps: list[jax.Array] = []
        self._offsets = offsets
        # By identity: what is read in place of a value, once a layer has read it. Holding both
        # keeps their identities from being given to others.
        self._replaced: dict[int, tuple[Any, Any]] = {}

    def literal(self, atom: Any, value: Any) -> Pair:
        return value, False

    def equation(self, eqn: JaxprEqn, inputs: list[Pair]) -> list[Pair]:
        is_layer = eqn.primitive.name in AFFINE
        inputs = [self.current(one, is_tap=is_layer and one[1]) for one in inputs]
        if eqn.primitive.name == "scan" and not any(is_live for _, is_live in inputs):
            return self.primitive(eqn, inputs)
        return super().equation(eqn, inputs)

    def primitive(self, eqn: JaxprEqn, inputs: list[Pair]) -> list[Pair]:
        result = eqn.primitive.bind(*(value for value, _ in inputs), **eqn.params)
        results = result if eqn.primitive.multiple_results else [result]
        return [(one, any(is_live for _, is_live in inputs)) for one in results]

    def scan(self, eqn: JaxprEqn, inputs: list[Pair]) -> list[Pair]:
        """The iterations one after the other, so that each has its own taps."""
        num_carry, num_scanned = scan_layout(eqn)
        length, first = eqn.params["length"], len(inputs) - num_scanned
        carry, scanned = inputs[first - num_carry : first], inputs[first:]
        # Pieces of a split are weights of their own to the walk.
        pieces = [
            [(jnp.squeeze(piece, 0), live) for piece in lax.split(value, [1] * length)]
            for value, live in scanned
        ]
        order = range(length - 1, -1, -1) if eqn.params.get("reverse") else range(length)
        stacks: dict[int, list[Pair]] = {}
        for i in order:
            step = [*inputs[: first - num_carry], *carry, *(piece[i] for piece in pieces)]
            carry_and_stacked = self.run(eqn.params["jaxpr"], step)
            carry, stacks[i] = carry_and_stacked[:num_carry], carry_and_stacked[num_carry:]
        rows = [stacks[i] for i in range(length)]
        stacked = [(jnp.stack([v for v, _ in one]), one[0][1]) for one in zip(*rows, strict=True)]
        return [*carry, *stacked]

    def current(self, pair: Pair, is_tap: bool = False) -> Pair:
        """What is read in place of a value; a tap of it if a layer reads it for the first time."""
        value, is_live = pair
        if id(value) not in self._replaced and is_tap:
            offset = None if self._offsets is None else self._offsets[len(self.taps)]
            tapped = value if offset is None else value + offset
            self.taps.append(tapped)
            self._replaced[id(value)] = self._replaced[id(tapped)] = (value, tapped)
        return self._replaced.get(id(value), (value, value))[1], is_live
