"""Residual networks in V2 order on one trunk: vanilla (no shortcuts), rescaled, and BatchNorm.

A block maps x to  sqrt(1 - w^2) branch(x) + w shortcut(x)  with shortcut weight w. At w = 0 nothing
of the shortcut is left: a plain chain of activation and convolution. Without a weight it is
branch(x) + shortcut(x), the ordinary ResNet-V2 (arXiv 1603.05027) when batches are normalised too.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Literal

import jax
from flax import nnx

from zoo.models.blocks import BLOCKS_PER_STAGE, run_blocks
from zoo.models.family import Activations, FeatureInfo, Network, NetworkConfig, Variant
from zoo.models.layers import INITIALIZERS, Conv, max_pool, normalization
from zoo.models.layout import Layer, Layout, Part, Sum
from zoo.models.registry import register_family
from zoo.shaping import DKS, EOC, TAT, ShapedActivation

_BASIC_DEPTHS = (18, 34)
_BASE_CHANNELS = 64
_STEM_STRIDE = {"imagenet": 4, "cifar": 1}
_METHODS = {
    "tat_lrelu": TAT("leaky_relu"),
    "dks_softplus": DKS("softplus"),
    "dks_tanh": DKS("tanh"),
    "tat_tanh": TAT("tanh"),
    "eoc_relu": EOC("relu"),
}
_HE_RELU = (ShapedActivation("relu"),)
_RESCALED_SHORTCUT_WEIGHT = 0.8


@dataclasses.dataclass(frozen=True)
class ResNetConfig(NetworkConfig):
    """Everything that decides a ResNet's structure and initial weights.

    Attributes:
      depth: 18, 34 (basic blocks), 50, 101, 152 or 200 (bottlenecks).
      shortcut_weight: w in [0, 1); 0 is a vanilla network, None an ordinary sum.
      norm: "batch" normalises before every activation, and convolutions have no bias; or "none".
      initializer: "suo_delta" (shaped networks) or "he_normal".
      stem: "imagenet" (7x7 stride 2, max-pool) or "cifar" (3x3, for images of 8 to 64 pixels).
      width: multiplies every channel count.
    """

    depth: int
    shortcut_weight: float | None = 0.0
    norm: Literal["none", "batch"] = "none"
    initializer: str = "suo_delta"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    width: float = 1.0

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of all networks, and of depth, initialiser, stem, norm, weight and width."""
        yield self.one_of("depth", BLOCKS_PER_STAGE)
        yield self.one_of("initializer", INITIALIZERS)
        yield self.one_of("stem", _STEM_STRIDE)
        yield self.one_of("norm", ("none", "batch"))
        yield from super().checks()
        weight = self.shortcut_weight
        yield weight is None or 0 <= weight < 1, f"shortcut_weight={weight}; give [0, 1) or None"
        yield self.width > 0, f"width={self.width}; give a positive factor"

    @property
    def bottleneck(self) -> bool:
        """Whether a block is 1x1, 3x3, 1x1 (inner width a quarter) rather than 3x3, 3x3."""
        return self.depth not in _BASIC_DEPTHS

    @property
    def begins_as_delta(self) -> bool:
        """Whether convolutions begin by their centre tap alone."""
        return self.initializer == "suo_delta"

    @property
    def normalizes_batches(self) -> bool:
        """Whether there is BatchNorm."""
        return self.norm == "batch"

    @property
    def image_size(self) -> int:
        """Side of the images the stem is meant for, in pixels; any other size works too."""
        return 224 if self.stem == "imagenet" else 32

    @property
    def stem_channels(self) -> int:
        """Channels of the stem's output."""
        return self._scaled(_BASE_CHANNELS)

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the four stages' outputs."""
        expansion = 4 if self.bottleneck else 1
        return tuple(self._scaled(_BASE_CHANNELS * expansion * 2**i) for i in range(4))

    def has_projection(self, stage: int, block: int) -> bool:
        """Whether the shortcut of a block changes channels or resolution."""
        changes = block == 0 and (stage > 0 or self.bottleneck)
        return self.shortcut_weight != 0 and changes

    def _scaled(self, channels: int) -> int:
        return max(4, round(channels * self.width))


class Block(nnx.Module):
    """Normalisation (if any), activation, convolution: three times (bottleneck) or twice (basic).

    The shortcut is optional; a projected one starts from the block's first activation.
    """

    def __init__(
        self, config: ResNetConfig, activation: ShapedActivation, inputs: int, outputs: int,
        stride: int, projects: bool, *, rngs: nnx.Rngs,
    ):  # fmt: skip
        conv = functools.partial(_conv, config, rngs=rngs)
        inner = outputs // 4 if config.bottleneck else outputs
        norm = functools.partial(normalization, config.norm, **config.dtypes, rngs=rngs)
        self.norm1, self.norm2 = norm(inputs), norm(inner)
        if config.bottleneck:
            self.norm3 = norm(inner)
            self.conv1 = conv(inputs, inner, 1)
            self.conv2 = conv(inner, inner, 3, stride=stride)
            self.conv3 = conv(inner, outputs, 1)
        else:
            self.conv1 = conv(inputs, outputs, 3, stride=stride)
            self.conv2 = conv(outputs, outputs, 3)
        if projects:
            self.projection = conv(inputs, outputs, 1, stride=stride)
        self.activation = activation
        self.shortcut_weight = config.shortcut_weight

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        activated = self.activation(self.norm1(x))
        branch = self.conv2(self.activation(self.norm2(self.conv1(activated))))
        if hasattr(self, "conv3"):
            branch = self.conv3(self.activation(self.norm3(branch)))
        weight = self.shortcut_weight
        if weight == 0:
            return branch
        shortcut = self.projection(activated) if hasattr(self, "projection") else x
        if weight is None:
            return branch + shortcut
        return (1 - weight**2) ** 0.5 * branch + weight * shortcut


class Stage(nnx.Module):
    """Blocks of one resolution; all but the first are equal and may be scanned."""

    def __init__(
        self, config: ResNetConfig, activation: ShapedActivation, stage: int, *, rngs: nnx.Rngs
    ):
        outputs = config.stage_channels[stage]
        inputs = config.stage_channels[stage - 1] if stage else config.stem_channels
        stride = 2 if stage else 1
        projects = config.has_projection(stage, 0)
        first = Block(config, activation, inputs, outputs, stride, projects, rngs=rngs)
        others = [
            Block(config, activation, outputs, outputs, 1, False, rngs=rngs)
            for _ in range(BLOCKS_PER_STAGE[config.depth][stage] - 1)
        ]
        self.blocks = nnx.List([first, *others])
        self.config = config

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        return run_blocks(self.blocks, x, self.config)


@register_family
class ResNet(Network):
    """Stem, four stages, normalisation (if any), activation, mean over locations, head."""

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (self.activation,) = activations
        channels = config.stage_channels[-1]
        size, stride = (7, 2) if config.stem == "imagenet" else (3, 1)
        self.stem = _conv(
            config, self.input_channels, config.stem_channels, size, stride=stride, rngs=rngs
        )
        self.stages = nnx.List([Stage(config, self.activation, i, rngs=rngs) for i in range(4)])
        self.norm = normalization(config.norm, channels, **config.dtypes, rngs=rngs)
        self.head = self.new_head(channels, INITIALIZERS[config.initializer], rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """vanilla_ (shaped, or He's initial weights), rescaled_, and with BatchNorm."""
        found = {}
        for depth in BLOCKS_PER_STAGE:
            vanilla = ResNetConfig(depth)
            rescaled = ResNetConfig(depth, shortcut_weight=_RESCALED_SHORTCUT_WEIGHT)
            for name, method in _METHODS.items():
                found[f"vanilla_resnet{depth}_{name}"] = Variant(vanilla, (method,))
                if depth not in _BASIC_DEPTHS:
                    found[f"rescaled_resnet{depth}_{name}"] = Variant(rescaled, (method,))
            # Unshaped: what a plain ReLU network with He's initial weights does at this depth.
            he = dataclasses.replace(vanilla, initializer="he_normal")
            found[f"vanilla_resnet{depth}_he_relu"] = Variant(he, activations=_HE_RELU)
            batch_norm = dataclasses.replace(
                he, shortcut_weight=None, norm="batch", input_norm="none"
            )
            found[f"resnet{depth}"] = Variant(batch_norm, activations=_HE_RELU)
        return found

    @property
    def layout(self) -> Layout:
        """Input, stem, every block, the last normalisation and activation, head."""
        config = self.config
        stem = [Layer("conv", "stem", stride=2 if config.stem == "imagenet" else 1)]
        if config.stem == "imagenet":
            stem.append(Layer("max_pool", kernel_size=3, stride=2))
        blocks = (
            Part("block", name, _block_layers(config, name, i, j))
            for name, i, j in _block_names(config)
        )
        pool = (*_normalised(config, "norm"), Layer("activation"), Layer("mean"))
        return (
            self.input_part, Part("stem", "stem", tuple(stem)), *blocks,
            Part("pool", "norm", pool), self.head_part,
        )  # fmt: skip

    def feature_maps(self, images: jax.Array) -> list[jax.Array]:
        """Outputs of the four stages, finest first, before the last activation."""
        x = self._stem_output(images)
        return [x := stage(x) for stage in self.stages]

    def features(self, images: jax.Array) -> jax.Array:
        """The normalised (if at all) and activated last feature map, [batch, h, w, channel]."""
        return self.activation(self.norm(self.feature_maps(images)[-1]))

    def block_outputs(self, images: jax.Array) -> dict[str, jax.Array]:
        """Outputs of the stem and of every block in order, before the next activation."""
        x = self._stem_output(images)
        outputs = {"stem": x}
        for name, i, j in _block_names(self.config):
            x = self.stages[i].blocks[j](x)
            outputs[name] = x
        return outputs

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, channels and stride of each stage."""
        stride = _STEM_STRIDE[self.config.stem]
        return tuple(
            FeatureInfo(f"stages.{i}", channels, stride * 2**i)
            for i, channels in enumerate(self.config.stage_channels)
        )

    def _stem_output(self, images: jax.Array) -> jax.Array:
        x = self.stem(self.normalize_input(images))
        return max_pool(x) if self.config.stem == "imagenet" else x


def _block_names(config: ResNetConfig) -> Iterator[tuple[str, int, int]]:
    """Name, stage and number of every block; names as `split` writes them."""
    for i, count in enumerate(BLOCKS_PER_STAGE[config.depth]):
        digits = len(str(count - 1))
        for j in range(count):
            yield f"stages.{i}.blocks.{j:0{digits}}", i, j


def _block_layers(
    config: ResNetConfig, name: str, stage: int, block: int
) -> tuple[Layer | Sum, ...]:
    stride = 2 if stage and block == 0 else 1
    strides = (1, stride, 1) if config.bottleneck else (stride, 1)
    layers: list[Layer] = []
    for number, step in enumerate(strides, 1):
        layers += [*_normalised(config, f"{name}.norm{number}"), Layer("activation")]
        layers.append(Layer("conv", f"{name}.conv{number}", stride=step))
    weight = config.shortcut_weight
    if weight == 0:
        return tuple(layers)
    weights = (1.0, 1.0) if weight is None else ((1 - weight**2) ** 0.5, weight)
    if not config.has_projection(stage, block):
        return (Sum((tuple(layers), ()), weights),)
    shared = layers.index(Layer("activation")) + 1
    projection = Layer("conv", f"{name}.projection", stride=stride)
    return (*layers[:shared], Sum((tuple(layers[shared:]), (projection,)), weights))


def _normalised(config: ResNetConfig, name: str) -> tuple[Layer, ...]:
    return () if config.norm == "none" else (Layer("norm", name),)


def _conv(config: ResNetConfig, *shape: int, rngs: nnx.Rngs, stride: int = 1) -> Conv:
    """A convolution of `shape`: inputs, outputs, side of the kernel."""
    bias, initializer = config.norm == "none", INITIALIZERS[config.initializer]
    return Conv(
        *shape, stride=stride, use_bias=bias, initializer=initializer, **config.dtypes, rngs=rngs
    )
