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

from zoo.models.blocks import BLOCKS_PER_STAGE
from zoo.models.family import Activations, Variant
from zoo.models.layers import (
    BatchNorm,
    Conv,
    PlainWeights,
    at_least_float32,
    concatenated_relu,
    he_normal,
    max_pool,
)
from zoo.models.layout import Layer, Part
from zoo.models.registry import register_family
from zoo.models.trunk import Place, StagedConfig, Trunk
from zoo.shaping import ShapedActivation

_RELU = ShapedActivation("relu")
_BASE_CHANNELS = {"imagenet": 64, "wide": 16}
_WIDE = ((28, 5), (28, 10), (34, 2))
_SMALLEST_NORM = 1e-12
# By version: a and b at the start.
_SCALES = {1: (5.0, 1e-3), 2: (1.0, 0.1)}


@dataclasses.dataclass(frozen=True)
class DiracNetConfig(StagedConfig):
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
        stem = 4 if self.pools_stem else 1
        return stem * (2 ** (len(self.blocks_per_stage) - 1) - 1) + 1

    @property
    def stem_size(self) -> tuple[int, int]:
        """Side of the stem's kernel, and its stride."""
        return (7, 2) if self.stem == "imagenet" else (3, 1)

    @property
    def pools_stem(self) -> bool:
        """Whether a 3x3 max-pool of stride 2 follows the stem."""
        return self.stem == "imagenet"

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Dirac convolutions of each group."""
        if self.trunk == "wide":
            return (2 * ((self.depth - 4) // 6),) * 3
        return tuple(2 * blocks for blocks in BLOCKS_PER_STAGE[self.depth])

    @property
    def stem_channels(self) -> int:
        """Channels of the stem's output."""
        return self.stage_channels[0]

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the groups' outputs."""
        base = _BASE_CHANNELS[self.trunk] * self.width
        return tuple(max(4, round(base * 2**i)) for i in range(len(self.blocks_per_stage)))


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
    """A 2x2 max-pool (between groups), activation, Dirac convolution, normalisation."""

    def __init__(self, config: DiracNetConfig, place: Place, *, rngs: nnx.Rngs):
        inputs, outputs = place.inputs, place.outputs
        seen = inputs * (2 if config.version == 1 else 1)
        self.conv = DiracConv(seen, outputs, version=config.version, **config.dtypes, rngs=rngs)
        self.norm = _norm(config, outputs, rngs)
        self.version, self.pools = config.version, place.stride > 1

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h, w, outputs], or half of h and w."""
        x = max_pool(x, 2) if self.pools else x
        active = concatenated_relu(x, negated=True) if self.version == 1 else _RELU(x)
        return self.norm(self.conv(active))

    def layers(self, name: str) -> tuple[Layer, ...]:
        """What it computes, as a layout names it."""
        return (
            *((Layer("max_pool", kernel_size=2, stride=2),) if self.pools else ()),
            Layer("ncrelu" if self.version == 1 else "activation"),
            Layer("conv", f"{name}.conv"),
            Layer("norm", f"{name}.norm"),
        )


class Stem(nnx.Module):
    """Convolution and normalisation; then a ReLU in version 1 where no pool follows."""

    def __init__(self, config: DiracNetConfig, inputs: int, *, rngs: nnx.Rngs):
        (size, stride), outputs = config.stem_size, config.stem_channels
        self.conv = Conv(
            inputs, outputs, size, stride=stride, use_bias=False, initializer=he_normal,
            **config.dtypes, rngs=rngs,
        )  # fmt: skip
        self.norm = _norm(config, outputs, rngs)
        # Version 2 goes on with a ReLU anyway; NCReLU would pass what is negative.
        self.activates = config.version == 1 and not config.pools_stem

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, channels]."""
        x = self.norm(self.conv(x))
        return _RELU(x) if self.activates else x


@register_family
class DiracNet(Trunk):
    """Stem, groups of Dirac convolutions with a 2x2 max-pool between them, mean, head."""

    Config = DiracNetConfig

    def __init__(self, config: DiracNetConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        self.stem = Stem(config, self.input_channels, rngs=rngs)
        self.stages = self.new_stages(lambda place: Block(config, place, rngs=rngs))
        self.head = self.new_head(config.stage_channels[-1], he_normal, rngs=rngs)

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

    def last(self, x: jax.Array) -> jax.Array:
        """The last ReLU, which version 1 leaves out."""
        return _RELU(x) if self.config.version == 2 else x

    @property
    def stem_layers(self) -> tuple[Layer, ...]:
        """Convolution, normalisation and, in some of version 1, an activation."""
        conv = Layer("conv", "stem.conv", stride=self.config.stem_size[1])
        activation = (Layer("activation"),) if self.stem.activates else ()
        return (conv, Layer("norm", "stem.norm"), *activation)

    @property
    def pool_part(self) -> Part:
        """The activation of `last`, if any, and the mean."""
        activation = (Layer("activation"),) if self.config.version == 2 else ()
        return Part("pool", "", (*activation, Layer("mean")))

    def block_layers(self, place: Place) -> tuple[Layer, ...]:
        """What the block at `place` computes."""
        return self.stages[place.stage].blocks[place.number].layers(place.name)


def _norm(config: DiracNetConfig, channels: int, rngs: nnx.Rngs) -> BatchNorm:
    scale = jax.nn.initializers.uniform(1.0)  # as the authors' code begins it
    return BatchNorm(channels, scale_initializer=scale, **config.dtypes, rngs=rngs)
