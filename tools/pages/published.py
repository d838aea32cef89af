"""What the pages about published weights share: the weights, their methods and numbers."""

import dataclasses
from pathlib import Path
from typing import Any

from zoo.common.words import natural_order
from zoo.pretrained import Manifest, read_index, read_manifest
from zoo.recipes.networks import METHODS, depth_of, method_and_depth


@dataclasses.dataclass(frozen=True)
class Weight:
    """A published weight and its accuracy on one data set."""

    manifest: Manifest
    data: str
    measured: dict[str, Any]

    @property
    def id(self) -> str:
        """ARCH.TAG."""
        return self.manifest.id

    @property
    def method(self) -> str:
        """How it is made trainable, in words."""
        arch = self.manifest.arch
        return arch if depth_of(arch) is None else method_and_depth(arch)[0]

    @property
    def tag(self) -> str:
        """What follows the architecture."""
        return self.id.partition(".")[2]

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of top-1, in percent."""
        low, high = self.measured["top1_interval"]
        return 100 * low, 100 * high


def published(checkpoints: Path) -> list[Weight]:
    """One entry a weight and data set it was measured on, in the order of the index."""
    return [
        Weight(manifest, data, measured)
        for id in read_index(checkpoints)
        if (manifest := read_manifest(checkpoints / id))
        for data, measured in manifest.metrics.items()
    ]


def colours(weights: list[Weight]) -> tuple[str, ...]:
    """Methods in the order of their colours, the same on every page."""
    others = sorted({weight.method for weight in weights} - {*METHODS.values()}, key=natural_order)
    return (*METHODS.values(), *others)
