"""Networks whose shortcuts are phased out while training, by Lagrange multipliers.

  layer  x -> a S(x) + (1 - a) relu(conv(x)),   S the identity,   minimise the loss subject to a = 0

Each layer that keeps its shape has a gate a in [0, 1], from 1/2, and a multiplier m >= 0, from 0;
the few others are plain. After every update, with g the gradient of the loss by the gate,

  a <- clip(a - r_a (g + m), 0, 1),   m <- m + r_m a

so that a layer keeps its shortcut only while the loss gains more by it than what it owes. Where the
loss does not care, a = a_0 cos(t sqrt(r_a r_m)): all gates close after `release_steps`
= (pi / 2) / sqrt(r_a r_m) steps, wherever they began. At the end the network is plain.

Source: the idea is that of Monti, Tootoonian and Cao 2018, "Avoiding degradation in deep
feed-forward networks by phasing out skip-connections". Of that paper we know the abstract; the
equations above are our own.
"""

import dataclasses
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.family import Activations, Variant
from zoo.models.layers import Conv, he_normal
from zoo.models.layout import Layer, Layout, Part, Sum
from zoo.models.parameters import Fixed, Params, merge, split
from zoo.models.registry import register_family
from zoo.models.trunk import Place, Trunk, TrunkConfig
from zoo.shaping import ShapedActivation

_DEPTHS = (18, 34)
_GATE, _MULTIPLIER = ".value", ".multiplier"


@dataclasses.dataclass(frozen=True)
class VanConfig(TrunkConfig):
    """The trunk's options (18 or 34 layers), and how its shortcuts are phased out.

    Attributes:
      release_steps: after so many updates the gates close, if the loss does not want them open;
        0 keeps them where they are. Of a run's steps, take a tenth to a third: a fast release
        breaks training.
      first_gate: where gates begin, in (0, 1).
      gate_rate: r_a, the gates' own learning rate.
    """

    release_steps: int = 1000
    first_gate: float = 0.5
    gate_rate: float = 0.01

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Those of the trunk, and of the gates."""
        yield self.one_of("depth", _DEPTHS)
        yield from super().checks()
        steps = self.release_steps
        yield steps >= 0, f"release_steps={steps}; give a whole number >= 0"
        yield 0 < self.first_gate < 1, f"first_gate={self.first_gate}; give a number in (0, 1)"
        yield self.gate_rate > 0, f"gate_rate={self.gate_rate}; give a positive number"

    @property
    def multiplier_rate(self) -> float:
        """r_m, with which gates close after `release_steps`."""
        return (math.pi / (2 * self.release_steps)) ** 2 / self.gate_rate

    @property
    def begins_as_delta(self) -> bool:
        """False: kernels begin as normal numbers in every tap."""
        return False


class Gate(nnx.Module):
    """The share a of the shortcut in a layer's output, and the multiplier of a = 0."""

    def __init__(self, config: VanConfig):
        self.value = nnx.Param(jnp.full((), config.first_gate, jnp.float32))
        self.multiplier = Fixed(jnp.zeros((), jnp.float32))

    def __call__(self, shortcut: jax.Array, out: jax.Array) -> jax.Array:
        """a shortcut + (1 - a) out."""
        gate = self.value[...].astype(out.dtype)
        return gate * shortcut + (1 - gate) * out


class Block(nnx.Module):
    """Two layers, convolution and activation each; no gate where the first changes the shape."""

    def __init__(self, config: VanConfig, activation: ShapedActivation, place: Place, *,
                 rngs: nnx.Rngs):  # fmt: skip
        self.convs = nnx.List(
            Conv(*shape[:3], stride=shape[3], initializer=he_normal, **config.dtypes, rngs=rngs)
            for shape in place.convolutions
        )
        self.gates = nnx.List(Gate(config) for _ in self.convs[_ungated(place) :])
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        plain = len(self.convs) - len(self.gates)
        for i, conv in enumerate(self.convs):
            out = self.activation(conv(x))
            x = out if i < plain else self.gates[i - plain](x, out)
        return x


class Stem(nnx.Module):
    """Convolution and activation."""

    def __init__(self, config: VanConfig, activation: ShapedActivation, inputs: int, *,
                 rngs: nnx.Rngs):  # fmt: skip
        size, stride = config.stem_size
        self.conv = Conv(inputs, config.stem_channels, size, stride=stride, initializer=he_normal,
                         **config.dtypes, rngs=rngs)  # fmt: skip
        self.activation = activation

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, stem_channels]."""
        return self.activation(self.conv(x))


@register_family
class Van(Trunk):
    """Stem, layers with gates, mean over locations, head."""

    Config = VanConfig

    def __init__(self, config: VanConfig, activations: Activations, *, rngs: nnx.Rngs):
        self.config = config
        self.activations = activations
        (relu,) = activations
        self.stem = Stem(config, relu, self.input_channels, rngs=rngs)
        self.stages = self.new_stages(lambda place: Block(config, relu, place, rngs=rngs))
        self.head = self.new_head(config.stage_channels[-1], he_normal, rngs=rngs)

    @classmethod
    def variants(cls) -> dict[str, Variant]:
        """van18 and van34."""
        relu = (ShapedActivation("relu"),)
        return {
            f"van{depth}": Variant(VanConfig(depth, input_norm="none"), activations=relu)
            for depth in _DEPTHS
        }

    def after_step(
        self, step: jax.Array, before: Params, after: Params, gradients: Params
    ) -> Params:
        """Gates and multipliers after their own update; `after` has what the optimiser made."""
        changed: Params = {}
        for name in filter(lambda name: name.endswith(_MULTIPLIER), before):
            gate = name.removesuffix(_MULTIPLIER) + _GATE
            changed[gate] = before[gate]
            if self.config.release_steps and gate in gradients:
                pull = gradients[gate] + before[name]
                changed[gate] = jnp.clip(before[gate] - self.config.gate_rate * pull, 0, 1)
                changed[name] = before[name] + self.config.multiplier_rate * changed[gate]
        return changed

    def freeze(self) -> "Van":
        """The plain network that this one comes to: every gate 0, and no longer changed.

        Train it on for a tenth of the steps, to make up for the gates that were not quite closed.
        """
        config = dataclasses.replace(self.config, release_steps=0)
        closed = nnx.eval_shape(lambda: Van(config, self.activations, rngs=nnx.Rngs(0)))
        params = split(self)[1]
        gates = {n for n in params if n.removesuffix(_GATE) + _MULTIPLIER in params}
        zero = {name: jnp.zeros_like(params[name]) for name in gates}
        return merge(split(closed)[0], {**params, **zero})

    @property
    def plain_layout(self) -> Layout:
        """`layout`, without the shortcuts once every gate is closed."""
        gates = [v for n, v in split(self)[1].items() if n.endswith(_GATE) and "gates" in n]
        if any(isinstance(gate, jax.ShapeDtypeStruct) or float(gate) for gate in gates):
            return self.layout
        return tuple(
            dataclasses.replace(part, layers=tuple(one for x in part.layers for one in _closed(x)))
            for part in self.layout
        )

    def last(self, x: jax.Array) -> jax.Array:
        """`x`: a layer ends with its activation."""
        return x

    @property
    def stem_layers(self) -> tuple[Layer, ...]:
        """Convolution and activation."""
        return Layer("conv", "stem.conv", stride=self.config.stem_size[1]), Layer("activation")

    @property
    def pool_part(self) -> Part:
        """The mean."""
        return Part("pool", "", (Layer("mean"),))

    def block_layers(self, place: Place) -> tuple[Layer | Sum, ...]:
        """Two layers; the gate, whatever it is, weighs both branches."""
        layers: list[Layer | Sum] = []
        plain = _ungated(place)
        for i, (*_, stride) in enumerate(place.convolutions):
            layer = Layer("conv", f"{place.name}.convs.{i}", stride=stride), Layer("activation")
            if i < plain:
                layers += layer
            else:
                gate = Layer("gate", f"{place.name}.gates.{i - plain}")
                layers.append(Sum(((*layer, gate), ()), (1.0, 1.0)))
        return tuple(layers)


def _ungated(place: Place) -> int:
    return int(place.changes_shape)


def _closed(layer: Layer | Sum) -> tuple[Layer | Sum, ...]:
    """What a layer is when its gate is 0: its branch, without the gate."""
    return layer.branches[0][:-1] if isinstance(layer, Sum) else (layer,)
