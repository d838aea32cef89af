"""`GraphBuilder`: a kernel graph grown node by node, as a forward pass meets its layers."""

import dataclasses
import math
from collections.abc import Iterable

from zoo.shaping.assumptions import Assumption
from zoo.shaping.elementwise import Elementwise
from zoo.shaping.graph import (
    SQUARES_TOLERANCE,
    Input,
    KernelGraph,
    Mix,
    Node,
    Nonlinear,
    Product,
)

_NONE: frozenset[Assumption] = frozenset()


class GraphBuilder:
    """Grows a kernel graph node by node, as a forward pass meets its layers.

    Example:
      >>> builder = GraphBuilder()
      >>> branch = builder.nonlinear(builder.nonlinear(builder.input))
      >>> builder.graph(builder.mix({builder.input: 0.8, branch: 0.6})).nonlinear_depth
      2
    """

    def __init__(self) -> None:
        self.input = 0
        self._nodes: list[Node] = [Input()]
        self.depths = [0]
        self._assumed = [_NONE]
        self._order: dict[Assumption, int] = {}

    def assume(self, assumption: Assumption) -> Assumption:
        """Takes note of an assumption, so that graphs list theirs in the order they were met."""
        self._order.setdefault(assumption, len(self._order))
        return assumption

    def nonlinear(
        self,
        source: int,
        function: Elementwise | None = None,
        assumed: frozenset[Assumption] = _NONE,
    ) -> int:
        """Adds one nonlinear layer that reads `source`; `function` if it is unmarked."""
        return self._add(Nonlinear(source, function=function), self.depths[source] + 1, assumed)

    def mix(self, weights: dict[int, float]) -> int:
        """Adds the sum of `weights[node] * node` over the nodes; the squares are made to add to 1.

        Raises:
          ValueError: if the squares do not add to 1.
        """
        return self.mix_shares([(node, weight**2) for node, weight in weights.items()])

    def mix_shares(
        self, terms: Iterable[tuple[int, float]], assumed: frozenset[Assumption] = _NONE
    ) -> int:
        """Adds sum_i share_i * value(node_i) over (node_i, share_i), a node possibly repeated."""
        shares: dict[int, float] = {}
        for node, share in terms:
            shares[node] = shares.get(node, 0.0) + share
        total = math.fsum(shares.values())
        if abs(total - 1) > SQUARES_TOLERANCE:
            raise ValueError(f"squared weights {sorted(shares.values())} add to {total:.6g}, not 1")
        if len(shares) == 1:
            return next(iter(shares))
        sources = tuple(sorted(shares))
        # 12 digits: 0.6 and sqrt(1 - 0.8^2) differ in the 16th and must give the same graph.
        node = Mix(sources, tuple(round(shares[source] / total, 12) for source in sources))
        return self._add(node, max(self.depths[source] for source in sources), assumed)

    def product(self, sources: Iterable[int], assumed: frozenset[Assumption] = _NONE) -> int:
        """Adds the element-wise product of independent nodes."""
        ordered = tuple(sorted(sources))
        return self._add(Product(ordered), max(self.depths[source] for source in ordered), assumed)

    def whole(self) -> KernelGraph:
        """Every node so far, under its own number."""
        return KernelGraph(tuple(self._nodes))

    def graph(self, output: int, assumed: frozenset[Assumption] = _NONE) -> KernelGraph:
        """The graph that ends in `output`: what leads nowhere is dropped, sequences are merged.

        Args:
          output: the last node.
          assumed: what only the network's output rests on.
        """
        readers: dict[int, int] = {output: 1}
        for index in range(output, -1, -1):
            for source in self._nodes[index].sources if index in readers else ():
                readers[source] = readers.get(source, 0) + 1
        names = {0: 0}
        nodes: list[Node] = [Input()]
        for index in sorted(readers.keys() - {0}):
            node = self._nodes[index]
            source = names[node.sources[0]]
            last = nodes[source]
            alone = isinstance(node, Nonlinear) and readers[node.source] == 1
            if alone and isinstance(last, Nonlinear) and isinstance(node, Nonlinear):
                if last.function == node.function:
                    nodes[source] = dataclasses.replace(last, times=last.times + node.times)
                    names[index] = source
                    continue
            names[index] = len(nodes)
            nodes.append(_renamed(node, names))
        inside = frozenset().union(*(self._assumed[index] for index in readers))
        return KernelGraph(tuple(nodes), self._listed(inside, assumed - inside))

    def _listed(
        self, inside: frozenset[Assumption], at_output: frozenset[Assumption]
    ) -> tuple[Assumption, ...]:
        order = sorted(inside | at_output, key=lambda one: self._order.get(one, len(self._order)))
        return tuple(dataclasses.replace(one, at_output=one in at_output) for one in order)

    def _add(self, node: Node, depth: int, assumed: frozenset[Assumption] = _NONE) -> int:
        self._nodes.append(node)
        self.depths.append(depth)
        self._assumed.append(assumed)
        return len(self._nodes) - 1


def _renamed(node: Node, names: dict[int, int]) -> Node:
    if isinstance(node, Nonlinear):
        return dataclasses.replace(node, source=names[node.source])
    if isinstance(node, Mix):
        return Mix(tuple(names[source] for source in node.sources), node.shares)
    if isinstance(node, Product):
        return Product(tuple(names[source] for source in node.sources))
    return node
