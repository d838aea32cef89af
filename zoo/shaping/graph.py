"""`KernelGraph`: how nonlinear layers, normalised sums, concatenations and products are wired.

Affine layers and strides leave q and c values as they are and do not appear; where a network does
what would move them, the graph lists it among its assumptions.
"""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from zoo.shaping.assumptions import Assumption
from zoo.shaping.elementwise import Elementwise

Subnetworks = Literal["all", "reference"]
Value = TypeVar("Value")

SQUARES_TOLERANCE = 1e-6  # how far the squared weights of a sum may be from 1


@dataclasses.dataclass(frozen=True)
class Input:
    """The network's input, after any preprocessing."""

    sources: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Nonlinear:
    """`times` nonlinear layers in sequence, applied to node `source`.

    `function` is what they compute, or None for a `ShapedActivation`, whose constants are not part
    of the wiring.
    """

    source: int
    times: int = 1
    function: Elementwise | None = None

    @property
    def sources(self) -> tuple[int, ...]:
        """Nodes read by this one."""
        return (self.source,)


@dataclasses.dataclass(frozen=True)
class Mix:
    """sum_i shares[i] * value(sources[i]), with shares that add to 1.

    For a weighted sum the shares are the squared weights, for a concatenation the fractions of the
    channels: q and c values, slopes and curvatures all mix in this way.
    """

    sources: tuple[int, ...]
    shares: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Product:
    """Element-wise product of independent signals: q and c values multiply."""

    sources: tuple[int, ...]


Node = Input | Nonlinear | Mix | Product


@dataclasses.dataclass(frozen=True)
class KernelGraph:
    """The wiring of a network, as far as its kernel maps depend on it.

    Attributes:
      nodes: in topological order; the first is the input, the last the output.
      assumptions: what the maps take for granted, in the order it was met; no part of the wiring,
        so neither equality nor the hash sees them.

    Example:
      >>> KernelGraph.chain(3).evaluate(0.0, lambda curvature: curvature + 0.1)
      0.30000000000000004
    """

    nodes: tuple[Node, ...] = (Input(),)
    assumptions: tuple[Assumption, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.nodes or not isinstance(self.nodes[0], Input):
            raise ValueError("a KernelGraph starts with its Input node")
        for index, node in enumerate(self.nodes[1:], start=1):
            if not node.sources or not all(0 <= source < index for source in node.sources):
                raise ValueError(f"node {index} reads {node.sources}; it may read nodes before it")
            if isinstance(node, Mix) and abs(sum(node.shares) - 1) > SQUARES_TOLERANCE:
                raise ValueError(f"the shares {node.shares} of node {index} must add to 1")

    @classmethod
    def chain(cls, depth: int) -> "KernelGraph":
        """`depth` nonlinear layers in sequence."""
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise ValueError(f"depth={depth!r} must be a whole number of nonlinear layers, >= 1")
        return cls((Input(), Nonlinear(0, depth)))

    @property
    def is_chain(self) -> bool:
        """Whether the nonlinear layers are in sequence, without sums and concatenations."""
        return not any(isinstance(node, Mix | Product) for node in self.nodes)

    @property
    def has_products(self) -> bool:
        """Whether signals are multiplied, as in gated units."""
        return any(isinstance(node, Product) for node in self.nodes)

    @functools.cached_property
    def nonlinear_depth(self) -> int:
        """Number of nonlinear layers on the longest path from input to output."""
        depths: list[int] = []
        for node in self.nodes:
            own = node.times if isinstance(node, Nonlinear) else 0
            depths.append(own + max((depths[source] for source in node.sources), default=0))
        return depths[-1]

    @property
    def num_nonlinear(self) -> int:
        """Number of nonlinear layers."""
        return sum(node.times for node in self.nodes if isinstance(node, Nonlinear))

    @functools.cached_property
    def unmarked(self) -> tuple[Elementwise, ...]:
        """The nonlinearities that are not `ShapedActivation`, each once, in order."""
        nodes = (node for node in self.nodes if isinstance(node, Nonlinear))
        return tuple(dict.fromkeys(node.function for node in nodes if node.function is not None))

    def evaluate(self, x: Value, r: Callable[[Value], Value]) -> Value:
        """Value at the output when `x` is fed at the input.

        Args:
          x: a float or an array.
          r: the effect of one nonlinear layer: the C map for cosines, y -> s y for slopes,
            y -> y + k for curvatures. With products only cosines propagate in this way.
        """
        return self._propagate({0: x}, r)[len(self.nodes) - 1]

    def maximum(
        self, x: float, r: Callable[[float], float], subnetworks: Subnetworks = "all"
    ) -> float:
        """The largest value any subnetwork produces when `x` is fed at its own input.

        A subnetwork runs from a node u to a node v all of whose inputs, traced back, start at u.
        Since r never lowers a value and keeps the order of two, feeding x at the network's input
        gives every v at least the value it has from any other u: one sweep finds the maximum.

        Args:
          x: initial value.
          r: effect of one nonlinear layer; non-decreasing, r(y) >= y for y >= x.
          subnetworks: "all", or "reference" for the two candidates of the authors' ResNets: the
            whole network, and the summands of one sum fed with x where they part.

        Raises:
          ValueError: for another rule, or a graph with products.

        Source: Martens et al. 2021, section on maximal C map functions; arXiv 2110.01765.
        """
        if self.has_products:
            raise ValueError(
                "the graph holds products, where values do not grow along a path; use evaluate"
            )
        if subnetworks == "all":
            return max(self._propagate({0: x}, r).values())
        if subnetworks != "reference":
            raise ValueError(f"subnetworks={subnetworks!r} is unknown; use 'all' or 'reference'")
        return max(self.evaluate(x, r), *self._summands_alone(x, r), x)

    def to_json(self) -> list[dict[str, Any]]:
        """Nodes as JSON objects; `from_json` is the inverse where all activations are marked."""
        return [_node_to_json(node) for node in self.nodes]

    @classmethod
    def from_json(cls, nodes: Iterable[dict[str, Any]]) -> "KernelGraph":
        """The graph written by `to_json`."""
        return cls(tuple(_node_from_json(node) for node in nodes))

    @functools.cached_property
    def hash(self) -> str:
        """sha256 of the canonical JSON, in hexadecimal; the same in every process."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def _propagate(
        self, values: dict[int, Value], r: Callable[[Value], Value], stop: int | None = None
    ) -> dict[int, Value]:
        """Values of all nodes before `stop` whose every source has one."""
        first = max(values) + 1
        for index, node in enumerate(self.nodes[first:stop], start=first):
            if all(source in values for source in node.sources):
                values[index] = _apply(node, [values[source] for source in node.sources], r)
        return values

    def _summands_alone(self, x: float, r: Callable[[float], float]) -> list[float]:
        """For each sum, the largest summand when x is fed at the last node all of them share."""
        largest = []
        for index, fork in self._forks.items():
            values = self._propagate({fork: x}, r, stop=index)
            largest.append(max(values[source] for source in self.nodes[index].sources))
        return largest

    @functools.cached_property
    def _forks(self) -> dict[int, int]:
        """For each Mix, its immediate dominator: the last node all of its paths go through."""
        dominators = [0]
        for node in self.nodes[1:]:
            common = set(node.sources)
            while len(common) > 1:
                latest = max(common)
                common = common - {latest} | {dominators[latest]}
            dominators.append(common.pop())
        return {i: dominators[i] for i, node in enumerate(self.nodes) if isinstance(node, Mix)}


def _apply(node: Node, values: list[Any], r: Callable[[Any], Any]) -> Any:
    if isinstance(node, Mix):
        return sum(share * value for share, value in zip(node.shares, values, strict=True))
    if isinstance(node, Product):
        return math.prod(values)
    value = values[0]
    for _ in range(node.times if isinstance(node, Nonlinear) else 0):
        value = r(value)
    return value


def _node_to_json(node: Node) -> dict[str, Any]:
    fields = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    function = fields.pop("function", None)
    unmarked = {"function": [function.phi, function.fingerprint]} if function else {}
    return {"kind": type(node).__name__, **fields, **unmarked}


def _node_from_json(fields: dict[str, Any]) -> Node:
    if "function" in fields:
        raise ValueError(
            f"JSON does not hold the function of the unmarked nonlinearity {fields['function'][0]};"
            " trace the network again"
        )
    if fields["kind"] == "Nonlinear":
        return Nonlinear(fields["source"], fields["times"])
    if fields["kind"] == "Mix":
        return Mix(tuple(fields["sources"]), tuple(fields["shares"]))
    if fields["kind"] == "Product":
        return Product(tuple(fields["sources"]))
    return Input()
