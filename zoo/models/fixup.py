"""Fixup: residual networks without normalisation, whose branches begin at zero.

  y = relu(S(x) + F(x)),   F(x) = scale conv_m(relu(conv_1(x + b_1a) + b_1b) + b_2a ...) + b_mb

Biases and scale are one scalar each. The last convolution of a branch and the head begin at zero,
so the logits begin at 0; the others at N(0, 2 / (k^2 outputs)) L^(-1 / (2 m - 2)), with L blocks of
m convolutions. Scalars learn at a tenth of the rate. Every shortcut that changes shape is a 1x1
convolution; the authors' CIFAR networks subsample and pad instead.

Source: Zhang, Dauphin and Ma 2019, arXiv 1901.09321, and its released implementation.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.blocks import BLOCKS_PER_STAGE
from zoo.models.family import Activations, Variant
from zoo.models.layers import Conv, Initializer
from zoo.models.layout import Layer, Part, Sum
from zoo.models.registry import register_family
from zoo.models.trunk import Place, Trunk, TrunkConfig
from zoo.shaping import ShapedActivation

_SCALAR_RATE = 0.1


@dataclasses.dataclass(frozen=True)
class FixupConfig(TrunkConfig):
    """The trunk's options."""

    @property
    def begins_as_delta(self) -> bool:
        """False: kernels begin as normal numbers in every tap."""
        return False


class Scalar(nnx.Module):
    """One learnt number."""

    def __init__(self, value: float, param_dtype: str):
        self.value = nnx.Param(jnp.full((), value, param_dtype))

    def of(self, x: jax.Array) -> jax.Array:
        """The number, in the precision of `x`."""
        return self.value[...].astype(x.dtype)


class Stem(nnx.Module):
    """Convolution, scalar bias, activation."""

    def __init__(self, config: FixupConfig, activation: ShapedActivation, inputs: int, *,
                 rngs: nnx.Rngs):  # fmt: skip
        size, stride = config.stem_size
        shape = inputs, config.stem_channels, size, stride
        self.conv = _conv(config, *shape, fan_out_normal(1.0), rngs=rngs)
        self.bias = Scalar(0.0, config.param_dtype)
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, stem_channels]."""
        x = self.conv(x)
        return self.activation(x + self.bias.of(x))


class Block(nnx.Module):
    """Scalar bias, convolution, scalar bias, activation, two or three times, and a shortcut."""

    def __init__(self, config: FixupConfig, activation: ShapedActivation, place: Place, *,
                 rngs: nnx.Rngs):  # fmt: skip
        conv = functools.partial(_conv, config, rngs=rngs)
        *first, last = place.convolutions
        depth_factor = sum(config.blocks_per_stage) ** (-1 / (2 * len(first)))
        self.convs = nnx.List(
            [*(conv(*shape, fan_out_normal(depth_factor)) for shape in first),
             conv(*last, fan_out_normal(0.0))]
        )  # fmt: skip
        self.before = nnx.List(Scalar(0.0, config.param_dtype) for _ in self.convs)
        self.after = nnx.List(Scalar(0.0, config.param_dtype) for _ in self.convs)
        self.scale = Scalar(1.0, config.param_dtype)
        if place.changes_shape:
            shape = place.inputs, place.outputs, 1, place.stride
            self.projection = conv(*shape, fan_out_normal(1.0))
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        shifted = x + self.before[0].of(x)
        branch = self.convs[0](shifted)
        for i in range(1, len(self.convs)):
            branch = self.activation(branch + self.after[i - 1].of(x))
            branch = self.convs[i](branch + self.before[i].of(x))
        branch = self.scale.of(x) * branch + self.after[-1].of(x)
        shortcut = self.projection(shifted) if hasattr(self, "projection") else x
        return self.activation(branch + shortcut)


@register_family
class Fixup(Trunk):
    """Stem, four stages, scalar bias, mean over locations, head."""

    Config = FixupConfig

    def __init__(self, config: FixupConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (activation,) = activations
        self.stem = Stem(config, activation, self.input_channels, rngs=rngs)
        self.stages = self.new_stages(lambda place: Block(config, activation, place, rngs=rngs))
        self.bias = Scalar(0.0, config.param_dtype)
        self.head = self.new_head(config.stage_channels[-1], jax.nn.initializers.zeros, rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """fixup_resnet18 to fixup_resnet200."""
        relu = (ShapedActivation("relu"),)
        return {
            f"fixup_resnet{depth}": Variant(FixupConfig(depth, input_norm="none"), activations=relu)
            for depth in BLOCKS_PER_STAGE
        }

    def last(self, x: jax.Array) -> jax.Array:
        """The scalar bias before the head; a block ends with its activation."""
        return x + self.bias.of(x)

    @property
    def stem_layers(self) -> tuple[Layer, ...]:
        """Convolution, scalar bias, activation."""
        conv = Layer("conv", "stem.conv", stride=self.config.stem_size[1])
        return (conv, _scalar("shift", "stem.bias"), Layer("activation"))

    @property
    def pool_part(self) -> Part:
        """Scalar bias and mean."""
        return Part("pool", "bias", (_scalar("shift", "bias"), Layer("mean")))

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """The shortcut is x; a projected one starts from the first shifted value."""
        name, layers = place.name, []
        for i, (*_, stride) in enumerate(place.convolutions):
            layers += [
                _scalar("shift", f"{name}.before.{i}"),
                Layer("conv", f"{name}.convs.{i}", stride=stride),
                _scalar("shift", f"{name}.after.{i}"),
                Layer("activation"),
            ]
        first, *layers, after, activation = layers
        layers += [_scalar("scale", f"{name}.scale"), after]
        if not place.changes_shape:
            return (Sum(((first, *layers), ()), (1.0, 1.0)), activation)
        projection = Layer("conv", f"{name}.projection", stride=place.stride)
        return (first, Sum((tuple(layers), (projection,)), (1.0, 1.0)), activation)


def fan_out_normal(factor: float) -> Initializer:
    """Independent normal weights of standard deviation factor sqrt(2 / fan-out)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
        scaling = jax.nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        return factor * scaling(key, shape, dtype)

    return init


def _scalar(kind: str, name: str) -> Layer:
    return Layer(kind, name, rate=_SCALAR_RATE)


def _conv(
    config: FixupConfig, inputs: int, outputs: int, size: int, stride: int,
    initializer: Initializer, *, rngs: nnx.Rngs,
) -> Conv:  # fmt: skip
    return Conv(
        inputs, outputs, size, stride=stride, use_bias=False, initializer=initializer,
        **config.dtypes, rngs=rngs,
    )  # fmt: skip
