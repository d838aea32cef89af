"""ISONet: every convolution begins as an isometry, is held near one, and no shortcut is needed.

  block  x -> SReLU(conv_m(... SReLU(conv_1(x)))),    SReLU(x) = max(x, b), b learnt per channel

Convolutions but the stem begin as the identity (Dirac kernels) and SReLU as the identity above -1.
A penalty keeps them near isometries: the squared distance of the kernel's self-convolution from a
Dirac, halved. R-ISONet adds a shortcut to each block, whose branch is scaled by a scalar that
begins at 0 and learns at a tenth of the rate.

A Dirac start is no Delta-orthogonal start: the kernel maps of shaped networks do not apply.

Source: Qi et al. 2020, arXiv 2006.16992, and its released implementation.
"""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from zoo.models.family import Activations, Variant
from zoo.models.layers import Conv, PlainWeights, scaled_uniform_orthogonal, suo_delta
from zoo.models.layout import Layer, Part, Sum
from zoo.models.registry import register_family
from zoo.models.trunk import Place, Trunk, TrunkConfig
from zoo.shaping import ShapedActivation

_FIRST_BIAS = -1.0
_DEPTHS = (18, 34, 50, 101)
_DEEP, _DEEP_PENALTY_WEIGHT = 101, 3e-4  # as released; R-ISONet of that depth has the usual
_SCALE_RATE = 0.1


@dataclasses.dataclass(frozen=True)
class IsoNetConfig(TrunkConfig):
    """The trunk's options, and those of isometry.

    Attributes:
      shortcuts: R-ISONet rather than ISONet.
      penalty_weight: of the distance from isometry, summed over the convolutions but the stem.
    """

    shortcuts: bool = False
    penalty_weight: float = 1e-4

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of the trunk, and of the penalty."""
        yield from super().checks()
        weight = self.penalty_weight
        yield weight >= 0, f"penalty_weight={weight}; give a number >= 0"


def dirac(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    """The identity on the first min(inputs, outputs) channels, zeros elsewhere."""
    *spatial, inputs, outputs = shape
    centre = tuple(size // 2 for size in spatial)
    return jnp.zeros(shape, dtype).at[centre].set(jnp.eye(inputs, outputs, dtype=dtype))


def distance_from_isometry(kernel: jax.Array, stride: int) -> jax.Array:
    """Half the squared distance of a kernel's self-convolution from a Dirac.

      1/2 |K * K - delta|^2,   (K * K)[a, b, t] = sum_{c, s} K[s + stride t, c, a] K[s, c, b]

    over all shifts t at which the two overlap. With fewer inputs than outputs they change places.

    Args:
      kernel: [height, width, inputs, outputs].
      stride: of the convolution.
    """
    kernel = kernel.astype(jnp.float32)
    if kernel.shape[2] < kernel.shape[3]:
        kernel = kernel.swapaxes(2, 3)
    height, width, _, channels = kernel.shape
    gram = lax.conv_general_dilated(
        jnp.moveaxis(kernel, 3, 0), kernel, (stride, stride), ((height - 1,) * 2, (width - 1,) * 2),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    centre = (slice(None), gram.shape[1] // 2, gram.shape[2] // 2)
    return jnp.sum(gram.at[centre].add(-jnp.eye(channels)) ** 2) / 2


class SReLU(nnx.Module):
    """max(x, b), written relu(x - b) + b, with b learnt for every channel."""

    def __init__(self, activation: ShapedActivation, channels: int, param_dtype: str):
        self.bias = nnx.Param(jnp.full((channels,), _FIRST_BIAS, param_dtype))
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, ..., channel], the same shape."""
        bias = self.bias[...].astype(x.dtype)
        return self.activation(x - bias) + bias

    def plain_weights(self) -> PlainWeights:
        """Factor and shift before its ReLU; the shift is taken back after it."""
        return jnp.ones_like(self.bias[...]), -self.bias[...]


class Stem(nnx.Module):
    """Convolution and SReLU; nothing holds this convolution near an isometry."""

    def __init__(self, config: IsoNetConfig, activation: ShapedActivation, inputs: int, *,
                 rngs: nnx.Rngs):  # fmt: skip
        size, stride = config.stem_size
        self.conv = Conv(inputs, config.stem_channels, size, stride=stride, use_bias=False,
                         initializer=suo_delta, **config.dtypes, rngs=rngs)  # fmt: skip
        self.activation = SReLU(activation, config.stem_channels, config.param_dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, stem_channels]."""
        return self.activation(self.conv(x))


class Block(nnx.Module):
    """Convolution and SReLU, two or three times; with a shortcut added before the last SReLU."""

    def __init__(self, config: IsoNetConfig, activation: ShapedActivation, place: Place, *,
                 rngs: nnx.Rngs):  # fmt: skip
        def conv(inputs: int, outputs: int, size: int, stride: int) -> Conv:
            return Conv(inputs, outputs, size, stride=stride, use_bias=False, initializer=dirac,
                        **config.dtypes, rngs=rngs)  # fmt: skip

        self.convs = nnx.List(conv(*shape) for shape in place.convolutions)
        self.activations = nnx.List(
            SReLU(activation, outputs, config.param_dtype) for _, outputs, *_ in place.convolutions
        )
        self.has_shortcut = config.shortcuts
        if config.shortcuts:
            self.scale = nnx.Param(jnp.zeros((), config.param_dtype))
            if place.changes_shape:
                self.projection = conv(place.inputs, place.outputs, 1, place.stride)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        branch = self.convs[0](x)
        for activation, conv in zip(self.activations[:-1], self.convs[1:], strict=True):
            branch = conv(activation(branch))
        if self.has_shortcut:
            shortcut = self.projection(x) if hasattr(self, "projection") else x
            branch = shortcut + self.scale[...].astype(x.dtype) * branch
        return self.activations[-1](branch)


@register_family
class IsoNet(Trunk):
    """Stem, four stages, mean over locations, head."""

    Config = IsoNetConfig

    def __init__(self, config: IsoNetConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (relu,) = activations
        self.stem = Stem(config, relu, self.input_channels, rngs=rngs)
        self.stages = self.new_stages(lambda place: Block(config, relu, place, rngs=rngs))
        channels = config.stage_channels[-1]
        self.head = self.new_head(channels, scaled_uniform_orthogonal, rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """isonet18 to isonet101, and r_isonet18 to r_isonet101 with shortcuts."""
        found = {}
        relu = (ShapedActivation("relu"),)
        for depth in _DEPTHS:
            plain = IsoNetConfig(depth, input_norm="none")
            residual = dataclasses.replace(plain, shortcuts=True)
            if depth == _DEEP:
                plain = dataclasses.replace(plain, penalty_weight=_DEEP_PENALTY_WEIGHT)
            found[f"isonet{depth}"] = Variant(plain, activations=relu)
            found[f"r_isonet{depth}"] = Variant(residual, activations=relu)
        return found

    def penalty(self) -> jax.Array:
        """The weighted distance from isometry of all convolutions but the stem."""
        convs = [part for _, part in nnx.iter_modules(self.stages) if isinstance(part, Conv)]
        distances = [distance_from_isometry(conv.kernel[...], conv.stride) for conv in convs]
        return self.config.penalty_weight * jnp.sum(jnp.stack(distances))

    def last(self, x: jax.Array) -> jax.Array:
        """`x`: a block ends with its SReLU."""
        return x

    @property
    def stem_layers(self) -> tuple[Layer, ...]:
        """Convolution and SReLU."""
        conv = Layer("conv", "stem.conv", stride=self.config.stem_size[1])
        return (conv, *_srelu("stem.activation"))

    @property
    def pool_part(self) -> Part:
        """The mean."""
        return Part("pool", "", (Layer("mean"),))

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """Convolution and SReLU, two or three times; the shortcut goes round all but the last."""
        layers: list[Layer] = []
        for i, (*_, stride) in enumerate(place.convolutions):
            layers.append(Layer("conv", f"{place.name}.convs.{i}", stride=stride))
            layers += _srelu(f"{place.name}.activations.{i}")
        if not self.config.shortcuts:
            return tuple(layers)
        last = len(_srelu(""))
        branch = (*layers[:-last], Layer("scale", f"{place.name}.scale", rate=_SCALE_RATE))
        projection = Layer("conv", f"{place.name}.projection", stride=place.stride)
        shortcut = (projection,) if place.changes_shape else ()
        return (Sum((branch, shortcut), (1.0, 1.0)), *layers[-last:])


def _srelu(name: str) -> tuple[Layer, ...]:
    return Layer("shift", name), Layer("activation"), Layer("shift_back")
