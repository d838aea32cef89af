"""DiracNet: convolutions that begin near the identity, batch normalisation, and no shortcut.

  kernel = diag(a) delta + diag(b) W / ||W||

delta is the identity in the centre tap, ||W|| the norm of each output's filter. The identity that a
shortcut would add is thus inside the kernel, which `zoo.to_plain` folds with the normalisation into
one convolution with bias. Source: Zagoruyko & Komodakis 2017, arXiv 1706.00388, and its code.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.blocks import BLOCKS_PER_STAGE, run_blocks
from zoo.models.family import Activations, FeatureInfo, Network, NetworkConfig, Variant
from zoo.models.layers import (
    BatchNorm,
    Conv,
    PlainWeights,
    at_least_float32,
    concatenated_relu,
    he_normal,
    max_pool,
)
from zoo.models.layout import Layer, Layout, Part
from zoo.models.registry import register_family
from zoo.shaping import ShapedActivation

_RELU = ShapedActivation("relu")
_BASE_CHANNELS = {"imagenet": 64, "wide": 16}
_WIDE = ((28, 5), (28, 10), (34, 2))
_SMALLEST_NORM = 1e-12
# By version: a and b at the start.
_SCALES = {1: (5.0, 1e-3), 2: (1.0, 0.1)}


@dataclasses.dataclass(frozen=True)
class DiracNetConfig(NetworkConfig):
    """Everything that decides a DiracNet's structure and initial weights.

    Attributes:
      depth: 18 or 34 of the imagenet trunk; 6 n + 4 of the wide one, as Wide ResNets count.
      trunk: "imagenet": four groups of 64 to 512 channels; "wide": three of 16, 32 and 64.
      stem: "imagenet" (7x7 stride 2, max-pool) or "cifar" (3x3, for images of 8 to 64 pixels).
      width: multiplies every channel count.
      version: 2 (ReLU, a and b per output) or 1 (NCReLU, which doubles the channels; a and b
        per layer).
    """

    depth: int
    trunk: Literal["imagenet", "wide"] = "imagenet"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    width: float = 1.0
    version: Literal[1, 2] = 2

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of all networks, and of trunk, depth, stem, width and version."""
        yield self.one_of("trunk", _BASE_CHANNELS)
        yield self.one_of("stem", ("imagenet", "cifar"))
        yield self.one_of("version", _SCALES)
        if self.trunk == "wide":
            fits = type(self.depth) is int and self.depth >= 10 and (self.depth - 4) % 6 == 0
            yield fits, f"depth={self.depth!r}; give 10, 16, 22, 28, 34, ..."
        else:
            yield self.one_of("depth", (18, 34))
        yield from super().checks()
        yield self.width > 0, f"width={self.width}; give a positive factor"

    @property
    def begins_as_delta(self) -> bool:
        """Whether convolutions begin by their centre tap alone."""
        return False

    @property
    def normalizes_batches(self) -> bool:
        """Whether there is BatchNorm."""
        return True

    @property
    def image_size(self) -> int:
        """Side of the images the stem is meant for, in pixels."""
        return 224 if self.stem == "imagenet" else 32

    @property
    def smallest_image_size(self) -> int:
        """Smallest side that the pooling between the groups leaves a pixel of."""
        halved = 2 ** (len(self.convs_per_group) - 1)
        return self.stem_stride * (halved - 1) + 1

    @property
    def stem_stride(self) -> int:
        """Pixels of the image per pixel of the first group."""
        return 4 if self.stem == "imagenet" else 1

    @property
    def convs_per_group(self) -> tuple[int, ...]:
        """Dirac convolutions of each group."""
        if self.trunk == "wide":
            return (2 * ((self.depth - 4) // 6),) * 3
        return tuple(2 * blocks for blocks in BLOCKS_PER_STAGE[self.depth])

    @property
    def group_channels(self) -> tuple[int, ...]:
        """Channels of the groups' outputs."""
        base = _BASE_CHANNELS[self.trunk] * self.width
        return tuple(max(4, round(base * 2**i)) for i in range(len(self.convs_per_group)))


class DiracConv(Conv):
    """3x3 convolution of stride 1 by  diag(a) delta + diag(b) W / ||W||.

    Version 2 has a and b per output; its delta passes input i to output i. Version 1 has one a and
    b a layer; its delta passes input i to every output of the same remainder by the smaller count,
    so that a = 1, b = 0 after NCReLU gives back what NCReLU took.
    """

    def __init__(self, inputs: int, outputs: int, *, version: int, rngs: nnx.Rngs, **dtypes: Any):
        super().__init__(
            inputs, outputs, 3, use_bias=False, initializer=he_normal, rngs=rngs, **dtypes
        )
        shape = (outputs,) if version == 2 else ()
        a, b = (jnp.full(shape, scale, dtypes["param_dtype"]) for scale in _SCALES[version])
        self.identity_scale, self.filter_scale = nnx.Param(a), nnx.Param(b)
        self.version = version

    def plain_weights(self) -> PlainWeights:
        """The kernel it computes with, [3, 3, inputs, outputs], and no bias."""
        weight = self.kernel[...]
        wide = weight.astype(at_least_float32(weight.dtype))
        squares = jnp.sum(wide**2, axis=(0, 1, 2))
        unit = wide * jax.lax.rsqrt(jnp.maximum(squares, _SMALLEST_NORM**2))
        inputs, outputs = weight.shape[2:]
        period = max(inputs, outputs) if self.version == 2 else min(inputs, outputs)
        delta = jnp.arange(inputs)[:, None] % period == jnp.arange(outputs) % period
        kernel = (self.filter_scale[...] * unit).at[1, 1].add(self.identity_scale[...] * delta)
        return kernel.astype(weight.dtype), None


class Block(nnx.Module):
    """Activation, Dirac convolution, normalisation."""

    def __init__(self, config: DiracNetConfig, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        seen = inputs * (2 if config.version == 1 else 1)
        self.conv = DiracConv(seen, outputs, version=config.version, **config.dtypes, rngs=rngs)
        self.norm = _norm(config, outputs, rngs)
        self.version = config.version

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h, w, outputs]."""
        active = concatenated_relu(x, negated=True) if self.version == 1 else _RELU(x)
        return self.norm(self.conv(active))


class Stem(nnx.Module):
    """Convolution and normalisation; then a pool (imagenet), or a ReLU in version 1 (cifar)."""

    def __init__(self, config: DiracNetConfig, inputs: int, *, rngs: nnx.Rngs):
        size, stride = (7, 2) if config.stem == "imagenet" else (3, 1)
        outputs = config.group_channels[0]
        self.conv = Conv(
            inputs, outputs, size, stride=stride, use_bias=False, initializer=he_normal,
            **config.dtypes, rngs=rngs,
        )  # fmt: skip
        self.norm = _norm(config, outputs, rngs)
        self.config = config

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, channels]."""
        x = self.norm(self.conv(x))
        if self.config.stem == "imagenet":
            return max_pool(x)
        # Version 2 goes on with a ReLU anyway; NCReLU would pass what is negative.
        return _RELU(x) if self.config.version == 1 else x


@register_family
class DiracNet(Network):
    """Stem, groups of Dirac convolutions with a 2x2 max-pool between them, mean, head."""

    Config = DiracNetConfig

    def __init__(self, config: DiracNetConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        self.stem = Stem(config, self.input_channels, rngs=rngs)
        channels = config.group_channels
        groups = zip((channels[0], *channels), channels, config.convs_per_group, strict=False)
        self.groups = nnx.List(
            nnx.List(
                Block(config, outputs if j else inputs, outputs, rngs=rngs) for j in range(count)
            )
            for inputs, outputs, count in groups
        )
        self.head = self.new_head(channels[-1], he_normal, rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """Those of ImageNet and, for ten classes and 32 pixels, of CIFAR; `_v1` with NCReLU."""
        found = {}
        for version, suffix in ((2, ""), (1, "_v1")):
            options: dict[str, Any] = {"version": version, "input_norm": "none"}
            for depth in (18, 34):
                config = DiracNetConfig(depth, **options)
                found[f"diracnet{depth}{suffix}"] = Variant(config, activations=(_RELU,))
            for depth, width in _WIDE:
                config = DiracNetConfig(depth, "wide", "cifar", width, num_classes=10, **options)
                found[f"diracnet{depth}_{width}{suffix}"] = Variant(config, activations=(_RELU,))
        return found

    @property
    def layout(self) -> Layout:
        """Input, stem, every block, the last ReLU (version 2), head."""
        config = self.config
        stem = [Layer("conv", "stem.conv", stride=2 if config.stem == "imagenet" else 1)]
        stem.append(Layer("norm", "stem.norm"))
        if config.stem == "imagenet":
            stem.append(Layer("max_pool", kernel_size=3, stride=2))
        elif config.version == 1:
            stem.append(Layer("activation"))
        blocks = (
            Part("block", name, (
                *((Layer("max_pool", kernel_size=2, stride=2),) if i and not j else ()),
                Layer("ncrelu" if config.version == 1 else "activation"),
                Layer("conv", f"{name}.conv"),
                Layer("norm", f"{name}.norm"),
            ))
            for name, i, j in self._block_names()
        )  # fmt: skip
        last = (Layer("activation"),) if config.version == 2 else ()
        pool = Part("pool", "", (*last, Layer("mean")))
        return (self.input_part, Part("stem", "stem", tuple(stem)), *blocks, pool, self.head_part)

    def feature_maps(self, images: jax.Array) -> list[jax.Array]:
        """Outputs of the groups, finest first, before the last activation."""
        x = self.stem(self.normalize_input(images))
        maps = []
        for i, blocks in enumerate(self.groups):
            x = run_blocks(blocks, max_pool(x, 2) if i else x, self.config)
            maps.append(x)
        return maps

    def features(self, images: jax.Array) -> jax.Array:
        """The last feature map, activated in version 2, [batch, h, w, channel]."""
        x = self.feature_maps(images)[-1]
        return _RELU(x) if self.config.version == 2 else x

    def block_outputs(self, images: jax.Array) -> dict[str, jax.Array]:
        """Outputs of the stem and of every block in order, before the next activation."""
        x = self.stem(self.normalize_input(images))
        outputs = {"stem": x}
        for name, i, j in self._block_names():
            x = self.groups[i][j](max_pool(x, 2) if i and not j else x)
            outputs[name] = x
        return outputs

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, channels and stride of each group."""
        return tuple(
            FeatureInfo(f"groups.{i}", channels, self.config.stem_stride * 2**i)
            for i, channels in enumerate(self.config.group_channels)
        )

    def _block_names(self) -> Iterator[tuple[str, int, int]]:
        """Name, group and number of every block; names as `split` writes them."""
        for i, count in enumerate(self.config.convs_per_group):
            digits = len(str(count - 1))
            for j in range(count):
                yield f"groups.{i}.{j:0{digits}}", i, j


def _norm(config: DiracNetConfig, channels: int, rngs: nnx.Rngs) -> BatchNorm:
    scale = jax.nn.initializers.uniform(1.0)  # as the authors' code begins it
    return BatchNorm(channels, scale_initializer=scale, **config.dtypes, rngs=rngs)
