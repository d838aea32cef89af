"""Models by id: `vanilla_resnet50_tat_lrelu` names a family, a depth and how it is shaped."""

import dataclasses
import difflib
import fnmatch
import functools
import re
from collections.abc import Callable
from typing import Any

from flax import nnx

from zoo.models.network import Network
from zoo.models.resnet import ResNet
from zoo.models.resnet_config import BASIC_DEPTHS, BLOCKS_PER_STAGE, ResNetConfig
from zoo.naming import natural_order
from zoo.shaping import DKS, EOC, TAT, KernelGraph, ShapedActivation, kernel_graph
from zoo.shaping.solved import solve_once

Shaping = DKS | TAT | EOC

_ID = re.compile(r"[a-z0-9_]+")
_HE_RELU = ShapedActivation("relu")
_RESCALED_SHORTCUT_WEIGHT = 0.8
_METHODS: dict[str, Shaping] = {
    "tat_lrelu": TAT("leaky_relu"),
    "dks_softplus": DKS("softplus"),
    "dks_tanh": DKS("tanh"),
    "tat_tanh": TAT("tanh"),
    "eoc_relu": EOC("relu"),
}


class UnknownModelError(ValueError):
    """No model has this id."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """What an id stands for: a network class, its config, and how its activation is solved.

    `shaping` None leaves `activation` as it is.
    """

    network: Callable[..., Network]
    config: Any
    shaping: Shaping | None
    activation: ShapedActivation | None = None


_REGISTRY: dict[str, Entry] = {}


def register_model(id: str, entry: Entry) -> None:
    """Adds a model to the registry, so that `create_model(id)` builds it.

    Raises:
      ValueError: if the id is taken or has other characters than a-z, 0-9 and underscore.
    """
    if not _ID.fullmatch(id):
        raise ValueError(f"model id {id!r}; allowed: lower-case letters, digits, underscores")
    if id in _REGISTRY:
        raise ValueError(f"model id {id!r} is taken; choose another")
    _REGISTRY[id] = entry


def list_models(pattern: str = "*") -> list[str]:
    """Ids that match a shell pattern such as `vanilla*_tat_*`, by family, then depth."""
    return sorted(fnmatch.filter(_REGISTRY, pattern), key=natural_order)


def create_model(
    id: str,
    *,
    shaping: Shaping | None = None,
    activation: ShapedActivation | None = None,
    seed: int = 0,
    abstract: bool = False,
    **overrides: Any,
) -> Network:
    """Builds a model with fresh weights, its activation solved for its own kernel graph.

      model = create_model("vanilla_resnet50_tat_lrelu", num_classes=10, stem="cifar", width=0.25)

    Args:
      id: one of `list_models()`.
      shaping: another method than the id's.
      activation: an activation already solved; nothing is traced or solved then.
      seed: of the initial weights.
      abstract: build shapes only (`nnx.eval_shape`), no arrays.
      **overrides: fields of the family's config, for a ResNet `zoo.models.ResNetConfig`.

    Raises:
      UnknownModelError: for an unknown id; names the nearest.
      ValueError: for an unknown or invalid override, or an activation that cannot be solved.
    """
    entry = _lookup(id)
    config = _override(entry.config, overrides)
    shaping = shaping or entry.shaping
    solved = activation or (_solve(entry.network, config, shaping) if shaping else entry.activation)

    def build() -> Network:
        return entry.network(config, solved, rngs=nnx.Rngs(seed))

    model = nnx.eval_shape(build) if abstract else build()
    model.arch = id
    model.shaping = shaping
    return model


def overrides_of(model: Network) -> dict[str, Any]:
    """The arguments with which `create_model(model.arch, ...)` rebuilds this structure."""
    default = _lookup(model.arch).config
    pairs = ((f.name, getattr(model.config, f.name)) for f in dataclasses.fields(default))
    return {name: value for name, value in pairs if value != getattr(default, name)}


def graph_of(model: Network) -> KernelGraph:
    """The kernel graph of a model, abstract or not, traced from its own forward pass."""
    size, delta = model.config.image_size, model.config.initializer == "suo_delta"
    return kernel_graph(model, (1, size, size, model.config.in_channels), delta=delta)


@functools.lru_cache(maxsize=256)
def _solve(network: Callable[..., Network], config: Any, shaping: Shaping) -> ShapedActivation:
    """The activation that meets `shaping`'s conditions in this network."""
    model = nnx.eval_shape(lambda: network(config, shaping.unsolved, rngs=nnx.Rngs(0)))
    return solve_once(shaping, graph_of(model))


def _lookup(id: str) -> Entry:
    if id in _REGISTRY:
        return _REGISTRY[id]
    near = difflib.get_close_matches(id, _REGISTRY, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}; all: zoo list" if near else "all: zoo list"
    raise UnknownModelError(f"unknown model {id!r}; {hint}")


def _override(config: Any, overrides: dict[str, Any]) -> Any:
    known = [field.name for field in dataclasses.fields(config)]
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        raise ValueError(f"unknown option {', '.join(unknown)}; allowed: {', '.join(known)}")
    return dataclasses.replace(config, **overrides)


def _register_resnets() -> None:
    for depth in BLOCKS_PER_STAGE:
        vanilla = ResNetConfig(depth)
        for name, method in _METHODS.items():
            register_model(f"vanilla_resnet{depth}_{name}", Entry(ResNet, vanilla, method))
        # Unshaped: what a plain ReLU network with He's initial weights does at this depth.
        he = dataclasses.replace(vanilla, initializer="he_normal")
        register_model(f"vanilla_resnet{depth}_he_relu", Entry(ResNet, he, None, _HE_RELU))
        register_model(f"resnet{depth}", Entry(ResNet, _batch_norm(depth), None, _HE_RELU))
        if depth in BASIC_DEPTHS:
            continue
        rescaled = ResNetConfig(depth, shortcut_weight=_RESCALED_SHORTCUT_WEIGHT)
        for name, method in _METHODS.items():
            register_model(f"rescaled_resnet{depth}_{name}", Entry(ResNet, rescaled, method))


def _batch_norm(depth: int) -> ResNetConfig:
    return ResNetConfig(
        depth, shortcut_weight=None, norm="batch", initializer="he_normal", input_norm="none"
    )


_register_resnets()
