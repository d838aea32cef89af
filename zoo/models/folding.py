"""A network of any family as a plain one that computes the same: `plain_network`.

The layout is walked in forward order. What is linear is folded into the convolution before or after
it (`zoo.models.linear`), sums of linear paths become one convolution, everything else is kept.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models import linear as algebra
from zoo.models.family import Network, NetworkConfig
from zoo.models.layers import PlainWeights, at_least_float32
from zoo.models.layout import Layer, Sum
from zoo.models.linear import Linear
from zoo.models.parameters import Params, layer_at, merge, split
from zoo.models.plain import GROWTH, PLAIN_KINDS, Plain, PlainConfig, PlainLayer
from zoo.models.registry import build
from zoo.shaping import ShapedActivation

_RELU = ShapedActivation("relu")
_LINEAR = ("conv", "standardized_conv", "norm", "scale", "shift", "dense")
"""Kinds whose `plain_weights` say all; convolutions among them pad with zeros."""


class NotPlainError(ValueError):
    """A network has no plain form that computes the same."""


@dataclasses.dataclass(frozen=True)
class _Step:
    """A convolution (`linear`), or a layer that is kept with its weights."""

    layer: PlainLayer
    linear: Linear | None = None
    weights: Params = dataclasses.field(default_factory=dict)


def plain_network(network: Network, *, widen: bool = False) -> Plain:
    """Convolution with bias, activation, pooling, mean and dense, with the same logits.

    Exact up to rounding: normalisation by its running averages, parametrised kernels and sums of
    linear paths are folded in float32 at least.

    Args:
      network: concrete or abstract; it is not changed.
      widen: let convolutions carry what a shortcut adds, as channels of their own, where the
        activation is ReLU:  x + V relu(U x) = [V I -I] relu([U; I; -I] x), without -I where x >= 0.

    Raises:
      NotPlainError: names the part that has no plain form, and says what to do.
    """
    graphdef, params = split(network)
    layout = network.plain_layout
    specs: list[PlainLayer] = []

    def fold(params: Params) -> Params:
        walk = _Walk(merge(graphdef, params), widen)
        for part in layout:
            walk.run(part.layers, part.name)
        walk.flush()
        specs[:] = [step.layer for step in walk.steps]
        return _named(walk)

    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in params.values()):
        folded: Any = jax.eval_shape(fold, params)
    else:
        folded = jax.jit(fold)(params)
    config = _config(network, specs)
    plain = build(Plain, config, network.activations, abstract=True)
    structure, names = split(plain)
    return merge(structure, {name: folded[name] for name in names})


def _config(network: Network, layers: Iterable[PlainLayer]) -> PlainConfig:
    """The options that all families share, and the layers; the updates are in the kernels."""
    shared = {field.name for field in dataclasses.fields(NetworkConfig)} - {"update_scale"}
    options: dict[str, Any] = dataclasses.asdict(network.config)
    return PlainConfig(
        layers=tuple(map(str, layers)),
        side=network.config.image_size,
        smallest_side=network.config.smallest_image_size,
        **{name: value for name, value in options.items() if name in shared},
    )


def _named(walk: "_Walk") -> Params:
    """The weights under the names they have in `Plain`, in its precision."""
    digits = len(str(len(walk.steps) - 1))
    found = {f"head.{name}": value for name, value in walk.head.items()}
    for i, step in enumerate(walk.steps):
        weights = step.weights
        if step.linear is not None:
            kernel, bias = step.linear.kernel, step.linear.bias
            bias = jnp.zeros(kernel.shape[3], kernel.dtype) if bias is None else bias
            weights = {"kernel": kernel, "bias": bias}
        found |= {f"layer{i:0{digits}}.{name}": value for name, value in weights.items()}
    dtype = jnp.dtype(walk.model.config.param_dtype)
    return {name: value.astype(dtype) for name, value in sorted(found.items())}


class _Walk:
    """The steps so far, and the convolution that the next ones may still be folded into."""

    def __init__(self, model: Network, widen: bool):
        self.model, self.widen = model, widen
        self.steps: list[_Step] = []
        self.head: Params = {}
        self.channels = model.input_channels
        self.nonnegative = False
        self.pending: Linear | None = None
        self.shift: jax.Array | None = None  # of the last channelwise layer

    def run(self, layers: Iterable[Layer | Sum], part: str) -> None:
        """Adds layers of the part of that name."""
        for layer in layers:
            if isinstance(layer, Sum):
                self._sum(layer, part)
            elif layer.kind == "mean":
                self.flush()
            elif layer.kind != "per_location":  # that is an option of the config
                self._layer(layer, part)

    def flush(self) -> None:
        """Ends the convolution that others may be folded into."""
        if self.pending is not None:
            one = self.pending
            sizes = (one.outputs, one.side, one.stride, one.groups)
            self.steps.append(_Step(PlainLayer("conv", *sizes), one))
        self.pending = None

    def _layer(self, layer: Layer, part: str) -> None:
        module = layer_at(self.model, layer.name) if layer.name else None
        if layer.kind == "shift_back" and self.shift is not None:
            self._linear(algebra.channelwise(jnp.ones_like(self.shift), -self.shift, self.channels))
        elif layer.kind in _LINEAR:
            kernel, bias = _wide(_plain_weights(module, layer.kind))
            if kernel.ndim == 4:
                groups = self.channels // kernel.shape[2]
                self._linear(Linear(kernel, bias, layer.stride, groups))
            elif kernel.ndim < 2:
                self.shift = bias
                self._linear(algebra.channelwise(kernel, bias, self.channels))
            elif layer.name == "head" and bias is not None:
                self.head = {"kernel": kernel, "bias": bias}
            else:
                raise NotPlainError(f"{layer.name} is a dense layer before the head; {_PLAIN}")
        elif layer.kind in PLAIN_KINDS:
            self._keep(layer, {} if module is None else split(module)[1])
        else:
            raise NotPlainError(
                f"{part or 'the network'} has a layer of kind {layer.kind}, which is neither "
                f"linear nor one of {', '.join(PLAIN_KINDS)}; {_PLAIN}"
            )

    def _keep(self, layer: Layer, weights: Params) -> None:
        self.flush()
        sizes = {name: getattr(layer, name) for name in ("stride", "index")}
        size = layer.kernel_size or 1
        kept = PlainLayer(layer.kind, kernel_size=size, **sizes)
        self.steps.append(_Step(kept, weights=weights))
        self.channels *= GROWTH.get(layer.kind, 1)
        if layer.kind != "max_pool":
            self.nonnegative = layer.kind == "crelu" or self._is_relu(kept)

    def _linear(self, one: Linear, *, compose: bool = False) -> None:
        """Takes a convolution; with `compose`, also a pointwise one into another."""
        before = self.pending
        unmoved = (
            before is not None and before.is_channelwise and (before.bias is None or one.side == 1)
        )
        if before is not None and (one.is_channelwise or unmoved or compose):
            self.pending = algebra.composed(before, one)
        else:
            self.flush()
            self.pending = one
        self.channels, self.nonnegative = one.outputs, False

    def _sum(self, layer: Sum, part: str) -> None:
        paths = [self._path(branch, part) for branch in layer.branches]
        if all(len(path) <= 1 and _is_linear(path) for path in paths):
            linears = [_only(path) or self._identity() for path in paths]
            try:
                self._linear(algebra.added(linears, layer.weights))
            except ValueError as error:
                raise NotPlainError(f"{part}: {error}") from None
        elif self.widen:
            self._widened(paths, layer.weights, part)
        else:
            raise NotPlainError(
                f"{part} adds two live paths; widen=True gives an exact plain network with wider "
                "convolutions where the activation is ReLU"
            )

    def _path(self, layers: Iterable[Layer | Sum], part: str) -> list[_Step]:
        """The steps of a branch that starts here."""
        branch = _Walk(self.model, self.widen)
        branch.channels, branch.nonnegative = self.channels, self.nonnegative
        branch.run(layers, part)
        branch.flush()
        return branch.steps

    def _identity(self, stride: int = 1, factor: float = 1.0) -> Linear:
        dtype = at_least_float32(jnp.dtype(self.model.config.param_dtype))
        return algebra.identity(self.channels, dtype, stride=stride, factor=factor)

    def _is_relu(self, layer: PlainLayer) -> bool:
        return layer.kind == "activation" and self.model.activations[layer.index] == _RELU

    def _widened(self, paths: list[list[_Step]], weights: tuple[float, ...], part: str) -> None:
        """[V G -G] relu([U; I; -I] x) for  V relu(U x) + G x,  with as many layers as there are."""
        branch, shortcut, scales = self._branch_and_shortcut(paths, weights, part)
        signs = (1.0,) if self.nonnegative else (1.0, -1.0)
        *others, last = branch
        carried = [self._identity(others[0].stride, sign) for sign in signs]
        self._linear(
            algebra.stacked([others[0], *carried]),
            compose=others[0].is_pointwise and self.pending is not None,
        )
        for one in others[1:]:
            self._keep(Layer("activation", index=self._index), {})
            rest = algebra.identity(self.channels - one.inputs, one.kernel.dtype, stride=one.stride)
            self._linear(algebra.side_by_side([one, rest]))
        self._keep(Layer("activation", index=self._index), {})
        ends = [dataclasses.replace(shortcut, stride=last.stride) for _ in signs]
        ends[1:] = [dataclasses.replace(one, bias=None) for one in ends[1:]]
        factors = (scales[0], *(scales[1] * sign for sign in signs))
        self._linear(algebra.summed([last, *ends], factors))

    @property
    def _index(self) -> int:
        return self.model.activations.index(_RELU)

    def _branch_and_shortcut(
        self, paths: list[list[_Step]], weights: tuple[float, ...], part: str
    ) -> tuple[list[Linear], Linear, tuple[float, float]]:
        """Convolutions between which there is a ReLU each, and one of a single tap or nothing."""
        (branch, scale), (shortcut, other) = sorted(
            zip(paths, weights, strict=True), key=lambda pair: _is_linear(pair[0])
        )[:2]
        if branch and branch[0].linear is None:
            branch = [_Step(PlainLayer("conv"), self._identity()), *branch]
        convs, between = branch[::2], branch[1::2]
        linears = [step.linear for step in convs if step.linear is not None]
        one = _only(shortcut) or self._identity()
        total = 1
        for conv in linears:
            total *= conv.stride
        if not (
            len(paths) == 2
            and len(linears) == len(convs) == len(between) + 1
            and all(self._is_relu(step.layer) for step in between)
            and len(shortcut) <= 1
            and (one.side, one.stride) == (1, total)
        ):
            raise NotPlainError(
                f"{part} adds two live paths that wider convolutions cannot carry; allowed: "
                "convolutions with ReLU between them, beside nothing or a 1x1 convolution"
            )
        return linears, one, (scale, other)


def _plain_weights(module: Any, kind: str) -> PlainWeights:
    """What a module says, or what a lone parameter is for this kind of layer."""
    if hasattr(module, "plain_weights"):
        return module.plain_weights()
    value = module[...] if isinstance(module, nnx.Variable) else module.value[...]
    return (value, None) if kind == "scale" else (jnp.ones_like(value), value)


def _wide(weights: PlainWeights) -> PlainWeights:
    """In float32 at least."""
    kernel, bias = weights
    kernel = kernel.astype(at_least_float32(kernel.dtype))
    return kernel, None if bias is None else bias.astype(kernel.dtype)


def _only(steps: list[_Step]) -> Linear | None:
    """The convolution that a path is, or None for a path of nothing."""
    return steps[0].linear if steps else None


def _is_linear(steps: list[_Step]) -> bool:
    return all(step.linear is not None for step in steps)


_PLAIN = "give its kind a place in zoo.models.plain.PLAIN_KINDS"
