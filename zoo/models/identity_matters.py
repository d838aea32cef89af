"""All-convolutional residual networks that keep the identity and drop everything else.

  block  x -> S(x) + conv_2(relu(conv_1(x)))

without normalisation, dropout, maximum or trained classifier: pooled features are multiplied by a
random matrix that stays as it was drawn. S is the identity, or where the shape changes the mean of
2 x 2 locations with zeros for the new channels. Kernels of a block begin at N(0, 1 / (k^2 c)^2)
with c outputs, far below the usual 1 / (k sqrt(c)), so that the network begins near the identity.

The printed size of the CIFAR network, 13.59 million, is that of 1x1 convolutions as shortcuts with
all biases (13,588,800); the text of the paper describes what is built here. Its ImageNet network is
not described: `identity_matters34` is in the spirit of it, and no number of the paper is claimed.

Source: Hardt and Ma 2017, arXiv 1611.04231.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.family import Activations, Variant
from zoo.models.layers import Conv
from zoo.models.layout import Layer, Part, Sum
from zoo.models.parameters import Fixed
from zoo.models.registry import register_family
from zoo.models.trunk import Place, StagedConfig, Trunk
from zoo.shaping import ShapedActivation

_BLOCKS = {34: (3, 4, 6, 3), 55: (9, 9, 9)}
_CHANNELS = {34: (64, 128, 256, 512), 55: (64, 128, 256)}
_STEM_CHANNELS = {34: 64, 55: 16}


@dataclasses.dataclass(frozen=True)
class IdentityMattersConfig(StagedConfig):
    """Options of the family.

    Attributes:
      depth: 55, for CIFAR, or 34, for ImageNet: its stem and its first stage halve the resolution.
      shortcut: where the shape changes, "pad" takes the mean and zeros, "project" a convolution.
      width: multiplies every channel count.
    """

    depth: int
    shortcut: Literal["pad", "project"] = "pad"
    width: float = 1.0

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of all networks, and of depth, shortcut and width."""
        yield self.one_of("depth", _BLOCKS)
        yield self.one_of("shortcut", ("pad", "project"))
        yield from super().checks()
        yield self.width > 0, f"width={self.width}; give a positive factor"

    @property
    def begins_as_delta(self) -> bool:
        """False: kernels begin as normal numbers in every tap."""
        return False

    @property
    def image_size(self) -> int:
        """Side of the images that the network is meant for, in pixels."""
        return 32 if self.depth == 55 else 224

    @property
    def blocks_per_stage(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return _BLOCKS[self.depth]

    @property
    def stem_channels(self) -> int:
        """Channels of the stem's output."""
        return self._scaled(_STEM_CHANNELS[self.depth])

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the stages' outputs."""
        return tuple(map(self._scaled, _CHANNELS[self.depth]))

    @property
    def stem_size(self) -> tuple[int, int]:
        """Side of the stem's kernel, and its stride."""
        return (3, 1) if self.depth == 55 else (7, 2)

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of the first block of each stage."""
        return (1, 2, 2) if self.depth == 55 else (2, 2, 2, 2)

    def _scaled(self, channels: int) -> int:
        return max(4, round(channels * self.width))


class RandomProjection(nnx.Module):
    """A matrix that is drawn once, from N(0, 1 / inputs), and never trained."""

    def __init__(self, inputs: int, outputs: int, *, dtype: str, param_dtype: str,
                 rngs: nnx.Rngs):  # fmt: skip
        normal = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        self.kernel = Fixed(normal(rngs.params(), (inputs, outputs), jnp.dtype(param_dtype)))
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] -> [..., outputs]."""
        return x.astype(self.dtype) @ self.kernel[...].astype(self.dtype)


class Block(nnx.Module):
    """Convolution, activation, convolution, and the shortcut."""

    def __init__(self, config: IdentityMattersConfig, activation: ShapedActivation, place: Place, *,
                 rngs: nnx.Rngs):  # fmt: skip
        conv = functools.partial(Conv, **config.dtypes, rngs=rngs)
        self.convs = nnx.List(
            conv(inputs, outputs, size, stride=stride,
                 initializer=jax.nn.initializers.normal(1 / (size**2 * outputs)))
            for inputs, outputs, size, stride in place.convolutions
        )  # fmt: skip
        if place.changes_shape and config.shortcut == "project":
            self.projection = conv(
                place.inputs, place.outputs, 1, stride=place.stride, use_bias=False,
                initializer=jax.nn.initializers.normal(place.outputs**-0.5),
            )  # fmt: skip
        self.new_channels = place.outputs - place.inputs
        self.stride = place.stride
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        first, second = self.convs
        branch = second(self.activation(first(x)))
        if hasattr(self, "projection"):
            return branch + self.projection(x)
        if self.stride > 1:
            x = mean_pool(x)
        return branch + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.new_channels)))


@register_family
class IdentityMatters(Trunk):
    """Stem, stages, mean over locations, random projection."""

    Config = IdentityMattersConfig

    head: Any

    def __init__(self, config: IdentityMattersConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (relu,) = activations
        (size, stride), channels = config.stem_size, config.stem_channels
        self.stem = Conv(
            self.input_channels, channels, size, stride=stride, **config.dtypes, rngs=rngs,
            initializer=jax.nn.initializers.normal(1 / (size * channels**0.5)),
        )  # fmt: skip
        self.stages = self.new_stages(lambda place: Block(config, relu, place, rngs=rngs))
        shape, options = (config.stage_channels[-1], config.num_classes), config.dtypes
        self.head = RandomProjection(*shape, **options, rngs=rngs) if config.num_classes else None

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """identity_matters34 and identity_matters55."""
        relu = (ShapedActivation("relu"),)
        return {
            f"identity_matters{depth}": Variant(
                IdentityMattersConfig(depth, input_norm="none"), activations=relu
            )
            for depth in _BLOCKS
        }

    def last(self, x: jax.Array) -> jax.Array:
        """`x`: no activation follows a sum."""
        return x

    @property
    def pool_part(self) -> Part:
        """The mean."""
        return Part("pool", "", (Layer("mean"),))

    @property
    def head_part(self) -> Part:
        """The random projection."""
        layers = (Layer("random_projection", "head"),) if self.head is not None else ()
        return Part("head", "head", layers)

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """Two convolutions with an activation between them, and the shortcut."""
        first, second = (
            Layer("conv", f"{place.name}.convs.{i}", stride=shape[3])
            for i, shape in enumerate(place.convolutions)
        )
        shortcut: tuple[Layer, ...] = ()
        if place.changes_shape and self.config.shortcut == "project":
            shortcut = (Layer("conv", f"{place.name}.projection", stride=place.stride),)
        elif place.changes_shape:
            mean = (Layer("mean_pool", kernel_size=2, stride=2),) if place.stride > 1 else ()
            shortcut = (*mean, Layer("pad_channels"))
        return (Sum(((first, Layer("activation"), second), shortcut), (1.0, 1.0)),)


def mean_pool(x: jax.Array) -> jax.Array:
    """Means of 2 x 2 locations, [b, h, w, c] -> [b, h / 2, w / 2, c]; odd sides end in zeros."""
    batch, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    x = x.reshape(batch, -(-height // 2), 2, -(-width // 2), 2, channels)
    return jnp.mean(x, axis=(2, 4))
