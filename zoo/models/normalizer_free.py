"""Residual networks in V2 order without normalisation: SkipInit and NF-ResNet.

  y = S(x) + a g F(z),   z = b phi(x),   g one learnt scalar a block, from 0

F is two or three convolutions with phi between them; S is x, or where the shape changes a 1x1
convolution of z. SkipInit has a = b = 1. An NF-ResNet has a = 0.2 and b = 1 / s, with s the
standard deviation that x would have at the start if g were 1; its phi keeps variance 1 and its
kernels are standardised by the mean and variance of each output's weights:

  gain (W - mean) / sqrt(max(fan_in var, 1e-4)),   gain from 1

Left out: stochastic depth, and of the NFNets their groups and squeeze-and-excite.

Source: De and Smith 2020, arXiv 2002.10444; Brock et al. 2021, arXiv 2101.08692.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.blocks import BLOCKS_PER_STAGE
from zoo.models.family import Activations, Variant
from zoo.models.layers import Conv, PlainWeights, at_least_float32, he_normal
from zoo.models.layout import Layer, Sum
from zoo.models.registry import register_family
from zoo.models.trunk import Place, Trunk, TrunkConfig
from zoo.shaping import ShapedActivation

_BRANCH_SCALE = 0.2
_LEAST_VARIANCE = 1e-4
_HEAD_DEVIATION = 0.01
RELU_GAIN = math.sqrt(2 / (1 - 1 / math.pi))
"""1 / sqrt(Var relu(x)), x ~ N(0, 1)."""


@dataclasses.dataclass(frozen=True)
class NormalizerFreeConfig(TrunkConfig):
    """The trunk's options, and what tells NF-ResNet from SkipInit.

    Attributes:
      standardized: kernels are standardised, and a block reads its input at variance 1.
      branch_scale: a.
    """

    standardized: bool = True
    branch_scale: float = _BRANCH_SCALE

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of the trunk, and of the scale."""
        yield from super().checks()
        scale = self.branch_scale
        yield scale > 0, f"branch_scale={scale}; give a positive number"

    @property
    def begins_as_delta(self) -> bool:
        """False: kernels begin as normal numbers in every tap."""
        return False

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation s of what each block reads, in order; 1 where nothing is scaled.

        A block adds a^2 to the variance; the first of a stage begins it anew at 1.
        """
        found, variance = [], 1.0
        for place in self.places:
            found.append(math.sqrt(variance) if self.standardized else 1.0)
            variance = (1.0 if place.number == 0 else variance) + self.branch_scale**2
        return tuple(found)


class StandardizedConv(Conv):
    """Convolution whose kernel has mean 0 and variance gain^2 / fan-in for every output."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, **options: Any):
        super().__init__(inputs, outputs, kernel_size, **options)
        self.gain = nnx.Param(jnp.ones((outputs,), self.kernel.dtype))

    def plain_weights(self) -> PlainWeights:
        """The standardised kernel, and the bias."""
        kernel, bias = super().plain_weights()
        wide = kernel.astype(at_least_float32(kernel.dtype))
        mean = jnp.mean(wide, axis=(0, 1, 2))
        fan_in = math.prod(kernel.shape[:3])
        variance = jnp.maximum(fan_in * jnp.var(wide, axis=(0, 1, 2)), _LEAST_VARIANCE)
        scale = self.gain[...].astype(wide.dtype) * jax.lax.rsqrt(variance)
        return ((wide - mean) * scale).astype(kernel.dtype), bias


class Block(nnx.Module):
    """Activation and convolution, two or three times, scaled and added to the shortcut."""

    def __init__(self, config: NormalizerFreeConfig, activation: ShapedActivation, place: Place,
                 deviation: float, *, rngs: nnx.Rngs):  # fmt: skip
        conv = functools.partial(_conv, config, rngs=rngs)
        self.convs = nnx.List(conv(*shape) for shape in place.convolutions)
        if place.changes_shape:
            self.projection = conv(place.inputs, place.outputs, 1, place.stride)
        self.gain = nnx.Param(jnp.zeros((), config.param_dtype))
        self.activation = activation
        self.deviation = deviation
        self.branch_scale = config.branch_scale

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        activated = self.activation(x) / self.deviation
        branch = self.convs[0](activated)
        for conv in self.convs[1:]:
            branch = conv(self.activation(branch))
        shortcut = self.projection(activated) if hasattr(self, "projection") else x
        return shortcut + self.branch_scale * self.gain[...].astype(x.dtype) * branch


@register_family
class NormalizerFree(Trunk):
    """Stem, four stages, activation, mean over locations, head."""

    Config = NormalizerFreeConfig

    def __init__(self, config: NormalizerFreeConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (activation,) = activations
        deviations = iter(config.deviations)
        stem = self.input_channels, config.stem_channels, *config.stem_size
        self.stem = _conv(config, *stem, rngs=rngs)
        self.stages = self.new_stages(
            lambda place: Block(config, activation, place, next(deviations), rngs=rngs)
        )
        zeros, normal = jax.nn.initializers.zeros, jax.nn.initializers.normal(_HEAD_DEVIATION)
        head = normal if config.standardized else zeros
        self.head = self.new_head(config.stage_channels[-1], head, rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """skipinit_resnet18 to 200, nf_resnet18 to 200."""
        found = {}
        for depth in BLOCKS_PER_STAGE:
            free = NormalizerFreeConfig(depth, input_norm="none")
            skipinit = dataclasses.replace(free, standardized=False, branch_scale=1.0)
            relu = ShapedActivation("relu"), ShapedActivation("relu", output_scale=RELU_GAIN)
            found[f"skipinit_resnet{depth}"] = Variant(skipinit, activations=relu[:1])
            found[f"nf_resnet{depth}"] = Variant(free, activations=relu[1:])
        return found

    @property
    def stem_layers(self) -> tuple[Layer, ...]:
        """The convolution."""
        return (self._conv_layer("stem", self.config.stem_size[1]),)

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """The shortcut is x; a projected one starts from the first activation."""
        name, layers = place.name, []
        for i, (*_, stride) in enumerate(place.convolutions):
            layers += [Layer("activation"), self._conv_layer(f"{name}.convs.{i}", stride)]
        first = (layers[0], Layer("divide"))
        branch = (*layers[1:], Layer("scale", f"{name}.gain"))
        if not place.changes_shape:
            return (Sum(((*first, *branch), ()), (self.config.branch_scale, 1.0)),)
        projection = self._conv_layer(f"{name}.projection", place.stride)
        return (*first, Sum((branch, (projection,)), (self.config.branch_scale, 1.0)))

    def _conv_layer(self, name: str, stride: int) -> Layer:
        return Layer(
            "standardized_conv" if self.config.standardized else "conv", name, stride=stride
        )


def _conv(
    config: NormalizerFreeConfig, inputs: int, outputs: int, size: int, stride: int, *,
    rngs: nnx.Rngs,
) -> Conv:  # fmt: skip
    kind = StandardizedConv if config.standardized else Conv
    return kind(
        inputs, outputs, size, stride=stride, initializer=he_normal, **config.dtypes, rngs=rngs
    )
