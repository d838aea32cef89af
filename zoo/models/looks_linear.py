"""Looks-linear networks: CReLU and mirrored weights, so that a deep network begins as a linear map.

  CReLU(x) = [max(x, 0), max(-x, 0)],   W = [O, -O],   so that   W CReLU(x) = O x

with O orthogonal. Only the first half of each kernel's inputs and the second are tied, and only at
the start. The price is twice the weights of each layer, and convolutions in place of the max-pool,
which is not linear.

Source: Balduzzi et al. 2017, arXiv 1702.08591.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.blocks import BLOCKS_PER_STAGE
from zoo.models.family import Activations, Variant
from zoo.models.layers import Conv, Initializer, scaled_uniform_orthogonal, suo_delta
from zoo.models.layout import Layer, Part
from zoo.models.registry import register_family
from zoo.models.trunk import Place, Trunk, TrunkConfig
from zoo.shaping import ShapedActivation

_MIRRORED = (Layer("mirror"), Layer("activation"))


@dataclasses.dataclass(frozen=True)
class LooksLinearConfig(TrunkConfig):
    """The trunk's options; its first stage has stride 2 where others pool the stem's output."""

    @property
    def pools_stem(self) -> bool:
        """False: a maximum is not linear."""
        return False

    @property
    def stage_strides(self) -> tuple[int, ...]:
        """Stride of the first block of each stage."""
        return (2 if self.stem == "imagenet" else 1, 2, 2, 2)


def mirrored(initializer: Initializer) -> Initializer:
    """[O, -O] along the inputs, with O what `initializer` gives for half of them."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
        half = initializer(key, (*shape[:-2], shape[-2] // 2, shape[-1]), dtype)
        return jnp.concatenate([half, -half], axis=-2)

    return init


def averaging(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """A 3x3 kernel for stride 2 that is the mean of 2 x 2 locations and then O."""
    one = suo_delta(key, shape, dtype)[1, 1] / 4
    return jnp.zeros(shape, dtype).at[:2, :2].set(one)


class Block(nnx.Module):
    """CReLU and convolution, two or three times."""

    def __init__(self, config: LooksLinearConfig, activation: ShapedActivation, place: Place, *,
                 rngs: nnx.Rngs):  # fmt: skip
        self.convs = nnx.List(
            Conv(2 * inputs, outputs, size, stride=stride, **config.dtypes, rngs=rngs,
                 initializer=mirrored(suo_delta if stride == 1 else averaging))
            for inputs, outputs, size, stride in place.convolutions
        )  # fmt: skip
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        for conv in self.convs:
            x = conv(crelu(self.activation, x))
        return x


@register_family
class LooksLinear(Trunk):
    """Stem, blocks of CReLU and convolution, CReLU, mean over locations, head."""

    Config = LooksLinearConfig

    def __init__(self, config: LooksLinearConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (self.activation,) = activations
        size, stride = config.stem_size
        self.stem = Conv(
            self.input_channels, config.stem_channels, size, stride=stride,
            initializer=suo_delta, **config.dtypes, rngs=rngs,
        )  # fmt: skip
        self.stages = self.new_stages(
            lambda place: Block(config, self.activation, place, rngs=rngs)
        )
        channels = 2 * config.stage_channels[-1]
        self.head = self.new_head(channels, mirrored(scaled_uniform_orthogonal), rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """looks_linear18 to looks_linear200; images are not normalised, which is not linear."""
        relu = (ShapedActivation("relu"),)
        return {
            f"looks_linear{depth}": Variant(
                LooksLinearConfig(depth, input_norm="none"), activations=relu
            )
            for depth in BLOCKS_PER_STAGE
        }

    def last(self, x: jax.Array) -> jax.Array:
        """CReLU."""
        return crelu(self.activation, x)

    @property
    def pool_part(self) -> Part:
        """CReLU and mean."""
        return Part("pool", "", (*_MIRRORED, Layer("mean")))

    def block_layers(self, place: Place) -> tuple[Layer, ...]:
        """Mirror, activation, convolution, two or three times."""
        layers: list[Layer] = []
        for i, (*_, stride) in enumerate(place.convolutions):
            layers += [*_MIRRORED, Layer("conv", f"{place.name}.convs.{i}", stride=stride)]
        return tuple(layers)


def crelu(activation: ShapedActivation, x: jax.Array) -> jax.Array:
    """[batch, ..., channel] -> [batch, ..., 2 channel]: both parts of every channel."""
    return activation(jnp.concatenate([x, -x], axis=-1))
