"""Plain networks: convolution with bias, activation and pooling in any order, mean, dense.

What `zoo.to_plain` turns other families into, and what one may write down layer by layer.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.blocks import run_blocks
from zoo.models.family import Activations, FeatureInfo, Network, NetworkConfig, Variant
from zoo.models.layers import Conv, concatenated_relu, he_normal, max_pool
from zoo.models.layout import Layer, Layout, Part
from zoo.models.registry import register_family
from zoo.shaping import ShapedActivation

_SIZES = ("channels", "kernel_size", "stride", "groups", "index")


@dataclasses.dataclass(frozen=True)
class PlainLayer:
    """One layer: `str(layer)` is its text in a config, such as "conv channels=64 kernel_size=3".

    Attributes:
      kind: conv, activation, max_pool, or another of `PLAIN_KINDS`.
      channels: outputs of conv.
      kernel_size, stride: of conv and max_pool; the padding is (kernel_size - 1) // 2.
      groups: of conv.
      index: of an activation among the network's.
    """

    kind: str
    channels: int = 0
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1
    index: int = 0

    @classmethod
    def parse(cls, text: str) -> "PlainLayer":
        """The inverse of `str`.

        Raises:
          ValueError: for an unknown kind, or sizes that are no positive whole numbers.
        """
        kind, *words = text.split() or [""]
        pairs = [word.split("=") for word in words]
        if kind not in PLAIN_KINDS or not all(
            len(pair) == 2 and pair[0] in _SIZES and pair[1].isdecimal() for pair in pairs
        ):
            raise ValueError(
                f"layer {text!r}; write a kind of {', '.join(PLAIN_KINDS)}, then NAME=NUMBER of "
                f"{', '.join(_SIZES)}"
            )
        layer = cls(kind, **{name: int(value) for name, value in pairs})
        if (
            min(layer.kernel_size, layer.stride, layer.groups, layer.channels + (kind != "conv"))
            < 1
        ):
            raise ValueError(f"layer {text!r}; sizes are at least 1, and conv needs channels=")
        return layer

    def __str__(self) -> str:
        sizes = ((name, getattr(self, name)) for name in _SIZES)
        said = (f"{n}={value}" for n, value in sizes if value != getattr(PlainLayer, n))
        return " ".join((self.kind, *said))


class _MaxPool(nnx.Module):
    def __init__(self, layer: PlainLayer):
        self.sizes = (layer.kernel_size, layer.stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        return max_pool(x, *self.sizes)


class _Activation(nnx.Module):
    def __init__(self, activation: ShapedActivation):
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.activation(x)


class _Mirror(nnx.Module):
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.concatenate([x, -x], axis=-1)


class _ConcatenatedReLU(nnx.Module):
    def __init__(self, negated: bool):
        self.negated = negated

    def __call__(self, x: jax.Array) -> jax.Array:
        return concatenated_relu(x, negated=self.negated)


Build = Callable[[PlainLayer, int, "PlainConfig", Activations, nnx.Rngs], Any]
PLAIN_KINDS: dict[str, Build] = {
    "conv": lambda layer, inputs, config, activations, rngs: Conv(
        inputs, layer.channels, layer.kernel_size, stride=layer.stride, groups=layer.groups,
        initializer=he_normal, **config.dtypes, rngs=rngs,
    ),
    "activation": lambda layer, inputs, config, activations, rngs: _Activation(
        activations[layer.index]
    ),
    "max_pool": lambda layer, inputs, config, activations, rngs: _MaxPool(layer),
    "mirror": lambda layer, inputs, config, activations, rngs: _Mirror(),
    "crelu": lambda layer, inputs, config, activations, rngs: _ConcatenatedReLU(negated=False),
    "ncrelu": lambda layer, inputs, config, activations, rngs: _ConcatenatedReLU(negated=True),
}  # fmt: skip
"""Kind -> module of a layer on so many channels. A family whose activations are modules of their
own, with weights or not, adds its kind."""
GROWTH = {"mirror": 2, "crelu": 2, "ncrelu": 2}
"""Kind -> factor on the channels; 1 where a kind is left out."""


@dataclasses.dataclass(frozen=True)
class PlainConfig(NetworkConfig):
    """The layers of a plain network.

    Attributes:
      layers: in order, as texts of `PlainLayer`; the mean over locations and the head follow.
      side: of the images that the network is meant for, in pixels.
      smallest_side: smallest of the images that it takes, in pixels.
    """

    layers: tuple[str, ...] = ()
    side: int = 32
    smallest_side: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        super().__post_init__()

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of all networks, and of every layer."""
        for text in self.layers:
            try:
                PlainLayer.parse(text)
            except ValueError as error:
                yield False, str(error)
        yield from super().checks()

    @property
    def image_size(self) -> int:
        """Side of the images that the network is meant for, in pixels."""
        return self.side

    @property
    def smallest_image_size(self) -> int:
        """Smallest side of images that the forward pass takes, in pixels."""
        return self.smallest_side

    @property
    def parsed(self) -> tuple[PlainLayer, ...]:
        """The layers."""
        return tuple(map(PlainLayer.parse, self.layers))


_EXAMPLE = (
    "conv channels=32 kernel_size=3", "activation", "max_pool kernel_size=3 stride=2",
    "conv channels=64 kernel_size=3", "activation", "max_pool kernel_size=3 stride=2",
    "conv channels=128 kernel_size=3", "activation",
)  # fmt: skip


@register_family
class Plain(Network):
    """Layers one after the other, mean over locations, head; `layer007` is the eighth."""

    Config = PlainConfig

    def __init__(self, config: PlainConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        channels = self.input_channels
        self.names = _names(config)
        for name, layer in zip(self.names, config.parsed, strict=True):
            module = PLAIN_KINDS[layer.kind](layer, channels, config, activations, rngs)
            setattr(self, name, module)
            channels = layer.channels or channels * GROWTH.get(layer.kind, 1)
        self.channels = channels
        self.head = self.new_head(channels, he_normal, rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """`plain`: three convolutions, in whose place `layers` puts any others."""
        config = PlainConfig(layers=_EXAMPLE, num_classes=10, input_norm="none")
        return {"plain": Variant(config, activations=(ShapedActivation("relu"),))}

    @property
    def layout(self) -> Layout:
        """Input, a part for every layer with weights and what follows it, mean, head."""
        parts: list[tuple[str, list[Layer]]] = [("", [])]
        for name, layer in zip(self.names, self.config.parsed, strict=True):
            weights = bool(jax.tree.leaves(nnx.state(getattr(self, name))))
            if weights and (parts[-1][0] or len(parts) > 1):
                parts.append((name, []))
            elif weights:
                parts[-1] = (name, parts[-1][1])
            said = Layer(layer.kind, name if weights else "", layer.kernel_size, layer.stride)
            sizes = {"index": layer.index, "groups": layer.groups}
            parts[-1][1].append(dataclasses.replace(said, **sizes))
        body = (
            Part("block" if i else "stem", name, tuple(layers))
            for i, (name, layers) in enumerate(parts)
        )
        return (self.input_part, *body, Part("pool", "", (Layer("mean"),)), self.head_part)

    def feature_maps(self, images: jax.Array) -> list[jax.Array]:
        """The last feature map alone."""
        return [self.features(images)]

    def features(self, images: jax.Array) -> jax.Array:
        """What the layers give, [batch, h, w, channel]."""
        x = self.normalize_input(images)
        layers = [getattr(self, name) for name in self.names]
        return run_blocks(layers, x, self.config) if layers else x

    def block_outputs(self, images: jax.Array) -> dict[str, jax.Array]:
        """Outputs of every layer."""
        x = self.normalize_input(images)
        return {name: (x := getattr(self, name)(x)) for name in self.names}

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, channels and stride of the last feature map."""
        stride = 1
        for layer in self.config.parsed:
            stride *= layer.stride
        name = self.names[-1] if self.names else "input"
        return (FeatureInfo(name, self.channels, stride),)


def _names(config: PlainConfig) -> tuple[str, ...]:
    """Names of the layers: sorted by name they are sorted by depth."""
    digits = len(str(len(config.layers) - 1))
    return tuple(f"layer{i:0{digits}}" for i in range(len(config.layers)))
