"""`to_plain`: a network or classifier as one of convolution, activation, pooling and dense only."""

import dataclasses
from typing import Any, overload

from zoo.classifier import Classifier, LoadReport
from zoo.complexity import count_macs, count_params
from zoo.models import Network, split
from zoo.models.folding import plain_network

PLAIN = "plain"
"""Id of the family of plain networks."""


@dataclasses.dataclass(frozen=True)
class PlainReport:
    """What the plain form costs.

    Attributes:
      parameters: trained parameters before and after.
      macs: multiply-accumulates of one image before and after.
      image_size: (height, width, channels) of that image.
    """

    parameters: tuple[int, int]
    macs: tuple[int, int]
    image_size: tuple[int, int, int]

    def __str__(self) -> str:
        size = " x ".join(map(str, self.image_size))
        before, after = (f"{n:,}" for n in self.parameters)
        return (
            f"parameters {before} -> {after}, multiply-accumulates "
            f"{self.macs[0]:,} -> {self.macs[1]:,} at {size}"
        )


@overload
def to_plain(model: Network, *, widen: bool = ...) -> tuple[Network, PlainReport]: ...
@overload
def to_plain(model: Classifier, *, widen: bool = ...) -> tuple[Classifier, PlainReport]: ...
def to_plain(model: Any, *, widen: bool = False) -> tuple[Any, PlainReport]:
    """The same function without normalisation, shortcuts and parametrised kernels; and its cost.

      plain, report = zoo.to_plain(zoo.load_pretrained("runs/diracnet"))

    Exact up to rounding: BatchNorm with its running averages, Dirac and other parametrised kernels,
    and sums of linear paths (RepVGG) are folded into convolutions with bias. The result is an
    ordinary network of the family `plain`, to be saved, loaded, exported and trained further.

    Args:
      model: a network of the zoo, abstract or not, or a classifier with one; it is not changed.
      widen: carry what shortcuts add in further channels, where the activation is ReLU.

    Raises:
      NotPlainError: for a network that has no plain form; names its part.
    """
    network = model.network if isinstance(model, Classifier) else model
    plain = plain_network(network, widen=widen)
    side, channels = network.config.image_size, network.config.in_channels
    size = (side, side, channels)
    report = PlainReport(
        (count_params(network), count_params(plain)),
        (count_macs(network, size), count_macs(plain, size)),
        size,
    )
    if not isinstance(model, Classifier):
        return plain, report
    source = model.provenance.name
    changes = LoadReport(source, (), adapted=tuple(split(plain)[1]), changes=(str(report),))
    provenance = dataclasses.replace(model.provenance, arch=PLAIN, report=changes)
    return dataclasses.replace(model, network=plain, provenance=provenance), report
