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

from zoo.models.blocks import BLOCKS_PER_STAGE
from zoo.models.family import Activations, Variant
from zoo.models.layers import INITIALIZERS, Conv, normalization
from zoo.models.layout import Layer, Part, Sum
from zoo.models.registry import register_family
from zoo.models.trunk import Place, Trunk, TrunkConfig
from zoo.shaping import DKS, EOC, TAT, ShapedActivation

_SMOOTH = (
    "asinh", "atan", "bentid", "cos", "elu", "erf", "gelu", "gelu_exact", "sigmoid", "sin",
    "softplus", "softsign", "swish", "tanh",
)  # fmt: skip
_METHODS = {
    "tat_lrelu": TAT("leaky_relu"),
    "dks_lrelu": DKS("leaky_relu"),
    "dks_relu": DKS("relu"),
    "dks_selu": DKS("selu"),
    "eoc_relu": EOC("relu"),
    **{f"dks_{name}": DKS(name) for name in _SMOOTH},
    **{f"tat_{name}": TAT(name) for name in _SMOOTH},
}
_MIXED = TAT("leaky_relu", linear_share=0.5)  # 27 nonlinear layers reach eta 0.9, depth 18 has 17
_HE_RELU = (ShapedActivation("relu"),)
_RESCALED_SHORTCUT_WEIGHT = 0.8


@dataclasses.dataclass(frozen=True)
class ResNetConfig(TrunkConfig):
    """Everything that decides a ResNet's structure and initial weights.

    Attributes:
      shortcut_weight: w in [0, 1); 0 is a vanilla network, None an ordinary sum.
      norm: "batch" normalises before every activation, and convolutions have no bias; or "none".
      initializer: "suo_delta" (shaped networks) or "he_normal".
    """

    shortcut_weight: float | None = 0.0
    norm: Literal["none", "batch"] = "none"
    initializer: str = "suo_delta"

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of the trunk, and of initialiser, norm and weight."""
        yield self.one_of("initializer", INITIALIZERS)
        yield self.one_of("norm", ("none", "batch"))
        yield from super().checks()
        weight = self.shortcut_weight
        yield weight is None or 0 <= weight < 1, f"shortcut_weight={weight}; give [0, 1) or None"

    @property
    def begins_as_delta(self) -> bool:
        """Whether convolutions begin by their centre tap alone."""
        return self.initializer == "suo_delta"

    @property
    def normalizes_batches(self) -> bool:
        """Whether there is BatchNorm."""
        return self.norm == "batch"

    def has_projection(self, place: Place) -> bool:
        """Whether the shortcut of a block changes channels or resolution."""
        return self.shortcut_weight != 0 and place.changes_shape


class Block(nnx.Module):
    """Normalisation (if any), activation, convolution: three times (bottleneck) or twice (basic).

    The shortcut is optional; a projected one starts from the block's first activation.
    """

    def __init__(
        self, config: ResNetConfig, activation: ShapedActivation, place: Place, *, rngs: nnx.Rngs
    ):
        norm = functools.partial(normalization, config.norm, **config.dtypes, rngs=rngs)
        norms = [norm(inputs) for inputs, *_ in place.convolutions]
        convs = [_conv(config, *shape, rngs=rngs) for shape in place.convolutions]
        self.norm1, self.norm2 = norms[:2]
        self.conv1, self.conv2 = convs[:2]
        if place.bottleneck:
            self.norm3, self.conv3 = norms[2], convs[2]
        if config.has_projection(place):
            shape = place.inputs, place.outputs, 1, place.stride
            self.projection = _conv(config, *shape, rngs=rngs)
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


@register_family
class ResNet(Trunk):
    """Stem, four stages, normalisation (if any), activation, mean over locations, head."""

    Config = ResNetConfig

    def __init__(self, config: ResNetConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (self.activation,) = activations
        channels = config.stage_channels[-1]
        stem = self.input_channels, config.stem_channels, *config.stem_size
        self.stem = _conv(config, *stem, rngs=rngs)
        self.stages = self.new_stages(
            lambda place: Block(config, self.activation, place, rngs=rngs)
        )
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
                if rescaled.bottleneck:
                    found[f"rescaled_resnet{depth}_{name}"] = Variant(rescaled, (method,))
            if depth > 18:
                found[f"vanilla_resnet{depth}_tat_mixed"] = Variant(vanilla, (_MIXED,))
            # Unshaped: what a plain ReLU network with He's initial weights does at this depth.
            he = dataclasses.replace(vanilla, initializer="he_normal")
            found[f"vanilla_resnet{depth}_he_relu"] = Variant(he, activations=_HE_RELU)
            usual = dataclasses.replace(he, shortcut_weight=None, norm="batch", input_norm="none")
            found[f"resnet{depth}"] = Variant(usual, activations=_HE_RELU)
        return found

    def last(self, x: jax.Array) -> jax.Array:
        """The normalised (if at all) and activated last feature map."""
        return self.activation(self.norm(x))

    @property
    def pool_part(self) -> Part:
        """The last normalisation, activation and mean."""
        layers = (*_normalised(self.config, "norm"), Layer("activation"), Layer("mean"))
        return Part("pool", "norm", layers)

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """Normalisation, activation, convolution, as often as there are any, and the shortcut."""
        config, name = self.config, place.name
        layers: list[Layer] = []
        for number, (*_, stride) in enumerate(place.convolutions, 1):
            layers += [*_normalised(config, f"{name}.norm{number}"), Layer("activation")]
            layers.append(Layer("conv", f"{name}.conv{number}", stride=stride))
        weight = config.shortcut_weight
        if weight == 0:
            return tuple(layers)
        weights = (1.0, 1.0) if weight is None else ((1 - weight**2) ** 0.5, weight)
        if not config.has_projection(place):
            return (Sum((tuple(layers), ()), weights),)
        shared = layers.index(Layer("activation")) + 1
        projection = Layer("conv", f"{name}.projection", stride=place.stride)
        return (*layers[:shared], Sum((tuple(layers[shared:]), (projection,)), weights))


def _normalised(config: ResNetConfig, name: str) -> tuple[Layer, ...]:
    return () if config.norm == "none" else (Layer("norm", name),)


def _conv(
    config: ResNetConfig, inputs: int, outputs: int, size: int, stride: int, *, rngs: nnx.Rngs
) -> Conv:
    bias, initializer = config.norm == "none", INITIALIZERS[config.initializer]
    return Conv(
        inputs, outputs, size, stride=stride, use_bias=bias, initializer=initializer,
        **config.dtypes, rngs=rngs,
    )  # fmt: skip
