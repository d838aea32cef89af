"""ResNet-V1 with BatchNorm: the activation after the sum, as in the first paper.

  y = relu(norm(conv(...)) + shortcut(x)),  shortcut: x, or a normalised 1x1 convolution

Strides are those of the 3x3 convolutions, as most libraries have them. It is a comparison, and the
form that widening makes plain at least cost. Source: He et al. 2015, arXiv 1512.03385.
"""

import dataclasses
import functools

import jax
from flax import nnx

from zoo.models.blocks import BLOCKS_PER_STAGE
from zoo.models.family import Activations, Variant
from zoo.models.layers import BatchNorm, Conv, he_normal
from zoo.models.layout import Layer, Part, Sum
from zoo.models.registry import register_family
from zoo.models.trunk import Place, Trunk, TrunkConfig
from zoo.shaping import ShapedActivation

_RELU = ShapedActivation("relu")


@dataclasses.dataclass(frozen=True)
class ResNetV1Config(TrunkConfig):
    """The trunk's options."""

    @property
    def begins_as_delta(self) -> bool:
        """Whether convolutions begin by their centre tap alone."""
        return False

    @property
    def normalizes_batches(self) -> bool:
        """Whether there is BatchNorm."""
        return True


class ConvNorm(nnx.Module):
    """Convolution without bias, and its normalisation."""

    def __init__(
        self, config: ResNetV1Config, inputs: int, outputs: int, side: int, stride: int = 1,
        *, rngs: nnx.Rngs,
    ):  # fmt: skip
        self.conv = Conv(
            inputs, outputs, side, stride=stride, use_bias=False, initializer=he_normal,
            **config.dtypes, rngs=rngs,
        )  # fmt: skip
        self.norm = BatchNorm(outputs, **config.dtypes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        return self.norm(self.conv(x))

    def layers(self, name: str) -> tuple[Layer, ...]:
        """The two, as a layout names them."""
        return (
            Layer("conv", f"{name}.conv", stride=self.conv.stride),
            Layer("norm", f"{name}.norm"),
        )


class Stem(ConvNorm):
    """The first of these, activated."""

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, channels]."""
        return _RELU(super().__call__(x))


class Block(nnx.Module):
    """Two (basic) or three (bottleneck) convolutions, the shortcut added, then the activation."""

    def __init__(self, config: ResNetV1Config, place: Place, *, rngs: nnx.Rngs):
        step = functools.partial(ConvNorm, config, rngs=rngs)
        self.steps = nnx.List(step(*shape) for shape in place.convolutions)
        if place.changes_shape:
            self.projection = step(place.inputs, place.outputs, 1, place.stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        first, *others = self.steps
        branch = first(x)
        for step in others:
            branch = step(_RELU(branch))
        return _RELU(branch + (self.projection(x) if hasattr(self, "projection") else x))

    def layers(self, name: str) -> tuple[Layer | Sum, ...]:
        """What it computes, as a layout names it."""
        branch: list[Layer] = []
        for i, step in enumerate(self.steps):
            branch += [*((Layer("activation"),) if i else ()), *step.layers(f"{name}.steps.{i}")]
        shortcut: tuple[Layer, ...] = ()
        if hasattr(self, "projection"):
            shortcut = self.projection.layers(f"{name}.projection")
        return (Sum((tuple(branch), shortcut), (1.0, 1.0)), Layer("activation"))


@register_family
class ResNetV1(Trunk):
    """Stem, four stages, mean over locations, head."""

    Config = ResNetV1Config

    def __init__(self, config: ResNetV1Config, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        stem = self.input_channels, config.stem_channels, *config.stem_size
        self.stem = Stem(config, *stem, rngs=rngs)
        self.stages = self.new_stages(lambda place: Block(config, place, rngs=rngs))
        self.head = self.new_head(config.stage_channels[-1], he_normal, rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """`resnet18_v1` to `resnet200_v1`."""
        return {
            f"resnet{depth}_v1": Variant(
                ResNetV1Config(depth, input_norm="none"), activations=(_RELU,)
            )
            for depth in BLOCKS_PER_STAGE
        }

    def last(self, x: jax.Array) -> jax.Array:
        """`x`: a block ends with its activation."""
        return x

    @property
    def stem_layers(self) -> tuple[Layer, ...]:
        """Convolution, normalisation, activation."""
        return (*self.stem.layers("stem"), Layer("activation"))

    @property
    def pool_part(self) -> Part:
        """The mean."""
        return Part("pool", "", (Layer("mean"),))

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """What the block at `place` computes."""
        return self.stages[place.stage].blocks[place.number].layers(place.name)
