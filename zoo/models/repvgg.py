"""RepVGG: 3x3 convolutions that train with two parallel paths and are deployed without them.

  y = relu(norm(3x3 conv(x)) + norm(1x1 conv(x)) + norm(x))

The last path exists where shapes agree. All three are linear once trained, so that `zoo.to_plain`
makes one 3x3 convolution with bias of them. Source: Ding et al. 2021, arXiv 2101.03697.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Literal

import jax
from flax import nnx

from zoo.models.family import Activations, Variant
from zoo.models.layers import BatchNorm, Conv, he_normal
from zoo.models.layout import Layer, Part, Sum
from zoo.models.registry import register_family
from zoo.models.trunk import Place, StagedConfig, Trunk
from zoo.shaping import ShapedActivation

_RELU = ShapedActivation("relu")
_BLOCKS = {"a": (2, 4, 14, 1), "b": (4, 6, 16, 1)}
# By id: blocks, width of the early stages and of the last one, groups.
_SIZES: dict[str, Any] = {
    "a0": ("a", 0.75, 2.5, 1),
    "a1": ("a", 1.0, 2.5, 1),
    "a2": ("a", 1.5, 2.75, 1),
    "b0": ("b", 1.0, 2.5, 1),
    "b1": ("b", 2.0, 4.0, 1),
    "b1g2": ("b", 2.0, 4.0, 2),
    "b1g4": ("b", 2.0, 4.0, 4),
    "b2": ("b", 2.5, 5.0, 1),
    "b2g4": ("b", 2.5, 5.0, 4),
    "b3": ("b", 3.0, 5.0, 1),
}
_GROUPED = range(2, 27, 2)


@dataclasses.dataclass(frozen=True)
class RepVGGConfig(StagedConfig):
    """Everything that decides a RepVGG's structure.

    Attributes:
      blocks: "a" (2, 4, 14 and 1 blocks a stage after the first block) or "b" (4, 6, 16 and 1).
      early_width: of the stem and the stages of 64, 128 and 256 channels; the stem has at most 64.
      last_width: of the stage of 512 channels.
      groups: of the convolutions of every second block.
      width: multiplies every channel count.
    """

    blocks: Literal["a", "b"]
    early_width: float
    last_width: float
    groups: int = 1
    width: float = 1.0

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of all networks, and of blocks, widths and groups."""
        yield self.one_of("blocks", _BLOCKS)
        yield self.one_of("groups", (1, 2, 4))
        yield from super().checks()
        for name in ("early_width", "last_width", "width"):
            value = getattr(self, name)
            yield value > 0, f"{name}={value}; give a positive factor"

    @property
    def begins_as_delta(self) -> bool:
        """Whether convolutions begin by their centre tap alone."""
        return False

    @property
    def normalizes_batches(self) -> bool:
        """Whether there is BatchNorm."""
        return True

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Number of blocks of the four stages after the first block, which is the stem."""
        return _BLOCKS[self.blocks]

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Every stage halves the resolution."""
        return (2, 2, 2, 2)

    @property
    def stem_size(self) -> tuple[int, int]:
        """Side of the stem's larger kernel, and its stride."""
        return 3, 2

    @property
    def stem_channels(self) -> int:
        """Channels of the stem's output."""
        return self._scaled(min(64, 64 * self.early_width))

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the stages' outputs, multiples of the groups."""
        a = self.early_width
        return tuple(map(self._scaled, (64 * a, 128 * a, 256 * a, 512 * self.last_width)))

    def _scaled(self, channels: float) -> int:
        return max(1, round(channels * self.width / 4)) * 4


class Block(nnx.Module):
    """Up to three normalised paths, added, then ReLU."""

    def __init__(
        self, config: RepVGGConfig, inputs: int, outputs: int, stride: int, groups: int,
        *, rngs: nnx.Rngs,
    ):  # fmt: skip
        sizes = {"stride": stride, "groups": groups, "use_bias": False, "initializer": he_normal}
        self.conv3 = Conv(inputs, outputs, 3, **sizes, **config.dtypes, rngs=rngs)
        self.groups = groups
        self.norm3 = BatchNorm(outputs, **config.dtypes, rngs=rngs)
        self.conv1 = Conv(inputs, outputs, 1, **sizes, **config.dtypes, rngs=rngs)
        self.norm1 = BatchNorm(outputs, **config.dtypes, rngs=rngs)
        if inputs == outputs and stride == 1:
            self.norm0 = BatchNorm(outputs, **config.dtypes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        y = self.norm3(self.conv3(x)) + self.norm1(self.conv1(x))
        return _RELU(y + self.norm0(x) if hasattr(self, "norm0") else y)

    def layers(self, name: str) -> tuple[Layer | Sum, ...]:
        """What it computes, as a layout names it."""
        paths = [
            tuple(
                Layer(kind, f"{name}.{kind}{side}", stride=self.conv3.stride, groups=self.groups)
                for kind in ("conv", "norm")
            )
            for side in (3, 1)
        ]
        if hasattr(self, "norm0"):
            paths.append((Layer("norm", f"{name}.norm0"),))
        return (Sum(tuple(paths), (1.0,) * len(paths)), Layer("activation"))


@register_family
class RepVGG(Trunk):
    """The first block as stem, four stages, mean, head."""

    Config = RepVGGConfig

    def __init__(self, config: RepVGGConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        numbers = itertools.count(1)

        def block(place: Place) -> Block:
            groups = config.groups if next(numbers) in _GROUPED else 1
            return Block(config, place.inputs, place.outputs, place.stride, groups, rngs=rngs)

        self.stem = Block(config, self.input_channels, config.stem_channels, 2, 1, rngs=rngs)
        self.stages = self.new_stages(block)
        self.head = self.new_head(config.stage_channels[-1], he_normal, rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """A0 to A2, B0 to B3, and those of B with groups."""
        return {
            f"repvgg_{name}": Variant(RepVGGConfig(*sizes, input_norm="none"), activations=(_RELU,))
            for name, sizes in _SIZES.items()
        }

    def last(self, x: jax.Array) -> jax.Array:
        """`x`: a block ends with its ReLU."""
        return x

    @property
    def stem_layers(self) -> tuple[Layer | Sum, ...]:
        """Those of the first block."""
        return self.stem.layers("stem")

    @property
    def pool_part(self) -> Part:
        """The mean."""
        return Part("pool", "", (Layer("mean"),))

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """What the block at `place` computes."""
        return self.stages[place.stage].blocks[place.number].layers(place.name)
