"""What a network consists of, as data: named parts in forward order, each with its role and layers.

A family says it of its own networks (`Network.layout`), a test compares it with the traced forward
pass. Whoever needs to know where a network begins, how far a layer is from the head, or which
products follow each other, reads it here and knows no family.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal

Role = Literal["input", "stem", "block", "pool", "head"]
"""What a part is for: what is done to images before any weight, the first weights, the repeated
body, what turns the last feature map into features, and the classifier."""


class NotAChainError(ValueError):
    """A network that adds signal paths is no list of layers, one after the other."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of a part.

    Attributes:
      kind: per_location, conv, norm, activation, max_pool, mean (over locations), dense, or a
        family's own word for what these do not cover; readers refuse the kinds they do not know.
      name: prefix of its parameters' names (`split`), "" if it has none.
      kernel_size: of max_pool; that of a convolution is the shape of its kernel.
      stride: of conv and max_pool; the padding is (kernel_size - 1) // 2 on every side.
      index: of an activation among the network's.
      rate: factor on the learning rate of its parameters.
      groups: of conv.
    """

    kind: str
    name: str = ""
    kernel_size: int = 0
    stride: int = 1
    index: int = 0
    rate: float = 1.0
    groups: int = 1


@dataclasses.dataclass(frozen=True)
class Sum:
    """Signal paths that start from one value and are added: sum_i weight_i branch_i(x).

    An empty branch is the identity.
    """

    branches: tuple[tuple["Layer | Sum", ...], ...]
    weights: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Part:
    """A stretch of the forward pass that is trained, frozen and counted as one.

    Attributes:
      role: what it is for.
      name: prefix of its parameters' names, "" if it has none.
      layers: what it computes, in order.
    """

    role: Role
    name: str
    layers: tuple[Layer | Sum, ...]

    def owns(self, parameter: str) -> bool:
        """Whether the parameter of this name belongs to this part."""
        return bool(self.name) and (parameter + ".").startswith(self.name + ".")


Layout = tuple[Part, ...]


def part_index(layout: Layout, parameter: str) -> int:
    """Position of the part that a parameter belongs to.

    Raises:
      ValueError: if it belongs to none.
    """
    for index, part in enumerate(layout):
        if part.owns(parameter):
            return index
    raise ValueError(f"{parameter} belongs to no part of the network's layout")


def parameters_of(layout: Layout, names: Iterable[str], *roles: Role) -> list[str]:
    """Those of the parameters `names` whose part has one of these roles, in their order."""
    parts = [part for part in layout if part.role in roles]
    return [name for name in names if any(part.owns(name) for part in parts)]


def distance_to_head(layout: Layout, parameter: str) -> int:
    """Number of blocks from the part of a parameter up to the head, a block itself counted.

    0 for the head and what pools its features, 1 for the last block, and one more for the stem
    than for the first block.
    """
    index = part_index(layout, parameter)
    above = sum(part.role == "block" for part in layout[index:])
    return above + (layout[index].role == "stem")


def rate_of(layout: Layout, parameter: str) -> float:
    """Factor on the learning rate of a parameter, as the layer asks that it belongs to."""
    for layer in all_layers(layout):
        if layer.rate != 1 and (parameter + ".").startswith(layer.name + "."):
            return layer.rate
    return 1.0


def all_layers(layout: Layout) -> Iterator[Layer]:
    """The layers of all parts, those of every branch of a sum too."""
    return (layer for part in layout for layer in _flat(part.layers))


def layers_of(layout: Layout) -> Iterator[Layer]:
    """The layers of a network without shortcuts, from normalised images to logits.

    Raises:
      NotAChainError: if signal paths are added.
    """
    for part in layout:
        for layer in part.layers:
            if isinstance(layer, Sum):
                raise NotAChainError(
                    f"{part.name} adds signal paths, so the network is no plain chain of layers; "
                    "allowed: networks without shortcuts, such as vanilla_resnet50_tat_lrelu"
                )
            yield layer


def _flat(layers: Iterable[Layer | Sum]) -> Iterator[Layer]:
    """Layers, those of every branch too."""
    for layer in layers:
        if isinstance(layer, Sum):
            for branch in layer.branches:
                yield from _flat(branch)
        else:
            yield layer
