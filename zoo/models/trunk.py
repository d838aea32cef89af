"""The trunk that families share: stem, stages of blocks, mean over locations, head.

Owns sizes, names and the way through; a family says what a block is, and what stands around them.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
from flax import nnx

from zoo.models.blocks import BLOCKS_PER_STAGE, run_blocks
from zoo.models.family import FeatureInfo, Network, NetworkConfig
from zoo.models.layers import max_pool
from zoo.models.layout import Layer, Layout, Part, Sum

_BASIC_DEPTHS = (18, 34)
_BASE_CHANNELS = 64


@dataclasses.dataclass(frozen=True)
class StagedConfig(NetworkConfig):
    """Sizes of a network of stages; a family says which of these properties are others.

    `blocks_per_stage`, `stem_channels` and `stage_channels` have no default.
    """

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        raise NotImplementedError

    @property
    def stem_channels(self) -> int:
        """Channels of the stem's output."""
        raise NotImplementedError

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the stages' outputs."""
        raise NotImplementedError

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of the first block of each stage."""
        return (1, *(2 for _ in self.blocks_per_stage[1:]))

    @property
    def stem_size(self) -> tuple[int, int]:
        """Side of the stem's kernel, and its stride."""
        return 3, 1

    @property
    def pools_stem(self) -> bool:
        """Whether a 3x3 max-pool of stride 2 follows the stem."""
        return False

    @property
    def bottleneck(self) -> bool:
        """Whether a block is 1x1, 3x3, 1x1 (inner width a quarter) rather than 3x3, 3x3."""
        return False

    @property
    def places(self) -> Iterator["Place"]:
        """Where the blocks stand, in forward order."""
        inputs = self.stem_channels
        stages = zip(self.blocks_per_stage, self.stage_channels, self.stage_strides, strict=True)
        for stage, (count, outputs, first_stride) in enumerate(stages):
            digits = len(str(count - 1))
            for number in range(count):
                stride = first_stride if number == 0 else 1
                name = f"stages.{stage}.blocks.{number:0{digits}}"
                yield Place(name, stage, number, inputs, outputs, stride, self.bottleneck)
                inputs = outputs


@dataclasses.dataclass(frozen=True)
class TrunkConfig(StagedConfig):
    """The options of the families on the ResNets' trunk.

    Attributes:
      depth: 18, 34 (basic blocks), 50, 101, 152 or 200 (bottlenecks).
      stem: "imagenet" (7x7 stride 2, max-pool) or "cifar" (3x3, for images of 8 to 64 pixels).
      width: multiplies every channel count.
    """

    depth: int
    stem: Literal["imagenet", "cifar"] = "imagenet"
    width: float = 1.0

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of all networks, and of depth, stem and width."""
        yield self.one_of("depth", BLOCKS_PER_STAGE)
        yield self.one_of("stem", ("imagenet", "cifar"))
        yield from super().checks()
        yield self.width > 0, f"width={self.width}; give a positive factor"

    @property
    def bottleneck(self) -> bool:
        """Whether a block is 1x1, 3x3, 1x1 (inner width a quarter) rather than 3x3, 3x3."""
        return self.depth not in _BASIC_DEPTHS

    @property
    def image_size(self) -> int:
        """Side of the images the stem is meant for, in pixels; any other size works too."""
        return 224 if self.stem == "imagenet" else 32

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Number of blocks of each of the four stages."""
        return BLOCKS_PER_STAGE[self.depth]

    @property
    def stem_channels(self) -> int:
        """Channels of the stem's output."""
        return self.scaled(_BASE_CHANNELS)

    @property
    def stem_size(self) -> tuple[int, int]:
        """Side of the stem's kernel, and its stride."""
        return (7, 2) if self.stem == "imagenet" else (3, 1)

    @property
    def pools_stem(self) -> bool:
        """Whether a 3x3 max-pool of stride 2 follows the stem."""
        return self.stem == "imagenet"

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the stages' outputs."""
        expansion = 4 if self.bottleneck else 1
        return tuple(self.scaled(_BASE_CHANNELS * expansion * 2**i) for i in range(4))

    def scaled(self, channels: int) -> int:
        """So many channels times `width`, 4 at least."""
        return max(4, round(channels * self.width))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a block stands.

    Attributes:
      name: prefix of its parameters' names.
      stage: number of its stage.
      number: of the block in its stage.
      inputs: channels that come in.
      outputs: channels that it gives.
      stride: of the block.
      bottleneck: whether it is 1x1, 3x3, 1x1.
    """

    name: str
    stage: int
    number: int
    inputs: int
    outputs: int
    stride: int
    bottleneck: bool

    @property
    def changes_shape(self) -> bool:
        """Whether a shortcut past the block has to change channels or resolution."""
        return self.number == 0 and (self.stage > 0 or self.inputs != self.outputs)

    @property
    def convolutions(self) -> tuple[tuple[int, int, int, int], ...]:
        """Inputs, outputs, side of the kernel and stride of each convolution of the branch."""
        if not self.bottleneck:
            first = (self.inputs, self.outputs, 3, self.stride)
            return first, (self.outputs, self.outputs, 3, 1)
        inner = self.outputs // 4
        return (
            (self.inputs, inner, 1, 1),
            (inner, inner, 3, self.stride),
            (inner, self.outputs, 1, 1),
        )


class Stage(nnx.Module):
    """Blocks of one resolution; all but the first are equal and may be scanned."""

    def __init__(self, blocks: list[nnx.Module], config: StagedConfig):
        self.blocks = nnx.List(blocks)
        self.config = config

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        return run_blocks(self.blocks, x, self.config)


class Trunk(Network):
    """Stem, stages of blocks, `last`, mean over locations, head.

    A family sets `stem`, `stages` (by `new_stages`) and `head`, and defines `block_layers`; and
    `stem_layers`, `last` and `pool_part` where they are others than these.
    """

    config: Any
    stem: Any
    stages: Any

    def new_stages(self, block: Callable[[Place], nnx.Module]) -> nnx.List:
        """The stages, of the blocks that `block` gives for each place in forward order."""
        stages: list[list[nnx.Module]] = [[] for _ in self.config.blocks_per_stage]
        for place in self.config.places:
            stages[place.stage].append(block(place))
        return nnx.List([Stage(blocks, self.config) for blocks in stages])

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """What the block at `place` computes, in order."""
        raise NotImplementedError

    @property
    def stem_layers(self) -> tuple[Layer | Sum, ...]:
        """What the stem computes before the max-pool."""
        return (Layer("conv", "stem", stride=self.config.stem_size[1]),)

    def last(self, x: jax.Array) -> jax.Array:
        """What is done to the last feature map before it is averaged."""
        (activation,) = self.activations
        return activation(x)

    @property
    def pool_part(self) -> Part:
        """The part of the layout that `last` and the mean are."""
        return Part("pool", "", (Layer("activation"), Layer("mean")))

    @property
    def layout(self) -> Layout:
        """Input, stem, every block, pooling, head."""
        stem = self.stem_layers
        if self.config.pools_stem:
            stem = (*stem, Layer("max_pool", kernel_size=3, stride=2))
        blocks = (
            Part("block", place.name, self.block_layers(place)) for place in self.config.places
        )
        stem_part = Part("stem", "stem", stem)
        return (self.input_part, stem_part, *blocks, self.pool_part, self.head_part)

    def feature_maps(self, images: jax.Array) -> list[jax.Array]:
        """Outputs of the stages, finest first, before the last activation."""
        x = self._stem_output(images)
        return [x := stage(x) for stage in self.stages]

    def features(self, images: jax.Array) -> jax.Array:
        """The last feature map as it is averaged, [batch, h, w, channel]."""
        return self.last(self.feature_maps(images)[-1])

    def block_outputs(self, images: jax.Array) -> dict[str, jax.Array]:
        """Outputs of the stem and of every block in order, before the next activation."""
        x = self._stem_output(images)
        outputs = {"stem": x}
        for place in self.config.places:
            x = self.stages[place.stage].blocks[place.number](x)
            outputs[place.name] = x
        return outputs

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, channels and stride of each stage."""
        config, found = self.config, []
        stride = config.stem_size[1] * (2 if config.pools_stem else 1)
        for i, channels in enumerate(config.stage_channels):
            stride *= config.stage_strides[i]
            found.append(FeatureInfo(f"stages.{i}", channels, stride))
        return tuple(found)

    def _stem_output(self, images: jax.Array) -> jax.Array:
        x = self.stem(self.normalize_input(images))
        return max_pool(x) if self.config.pools_stem else x
