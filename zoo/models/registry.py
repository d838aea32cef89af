"""Models by id: `vanilla_resnet50_tat_lrelu` names a family, a depth and how it is shaped."""

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Sequence
from typing import Any

from flax import nnx

from zoo.common.words import natural_order, nearest
from zoo.cpu import require_right_results
from zoo.models.family import Activations, Network, Shaping, Variant
from zoo.models.restricted import restrict_updates
from zoo.shaping import KernelGraph, ShapedActivation, kernel_graph
from zoo.shaping.solved import solve_once

_ID = re.compile(r"[a-z0-9_]+")


class UnknownModelError(ValueError):
    """No model has this id."""


_FAMILIES: dict[str, type[Network]] = {}
_VARIANTS: dict[str, Variant] = {}


def register_family(family: type[Network]) -> type[Network]:
    """Adds the ids of a family, so that `create_model`, training and all else know them.

    Returns `family`, so that it can stand above a class as a decorator.

    Raises:
      ValueError: if an id is taken or has other characters than a-z, 0-9 and underscore.
    """
    variants = family.variants()
    for id in variants:
        if not _ID.fullmatch(id):
            raise ValueError(f"model id {id!r}; allowed: lower-case letters, digits, underscores")
        if id in _VARIANTS:
            raise ValueError(f"model id {id!r} is taken; choose another")
    _VARIANTS.update(variants)
    _FAMILIES.update(dict.fromkeys(variants, family))
    return family


def list_models(pattern: str = "*") -> list[str]:
    """Ids that match a shell pattern such as `vanilla*_tat_*`, by family, then depth."""
    return sorted(fnmatch.filter(_VARIANTS, pattern), key=natural_order)


def family_of(id: str) -> type[Network]:
    """The family that an id belongs to.

    Raises:
      UnknownModelError: for an unknown id; names the nearest.
    """
    return _FAMILIES[_known(id)]


def variant_of(id: str) -> Variant:
    """The config and the shaping methods that an id stands for.

    Raises:
      UnknownModelError: for an unknown id; names the nearest.
    """
    return _VARIANTS[_known(id)]


def create_model(
    id: str,
    *,
    shaping: Shaping | Sequence[Shaping] | None = None,
    activation: ShapedActivation | Activations | None = None,
    seed: int = 0,
    abstract: bool = False,
    **options: Any,
) -> Network:
    """Builds a model with fresh weights, its activation solved for its own kernel graph.

      model = create_model("vanilla_resnet50_tat_lrelu", num_classes=10, stem="cifar", width=0.25)

    Args:
      id: one of `list_models()`.
      shaping: another method than the id's; as many as the family has activations.
      activation: already solved; nothing is traced or solved then.
      seed: of the initial weights.
      abstract: build shapes only (`nnx.eval_shape`), no arrays.
      **options: fields of the family's `Config`; the id gives those left out.

    Raises:
      UnknownModelError: for an unknown id; names the nearest.
      ValueError: for an unknown or invalid option, or an activation that cannot be solved.
      WrongResultsError: if JAX was started before `zoo`, in a way in which it computes wrongly.
    """
    require_right_results()
    variant = variant_of(id)
    config = with_options(variant.config, options)
    methods = variant.shaping if shaping is None else _as_tuple(shaping)
    if activation is not None:
        solved = _as_tuple(activation)
    else:
        solved = _solve(_FAMILIES[id], config, methods) if methods else variant.activations
    return build(_FAMILIES[id], config, solved, seed=seed, abstract=abstract)


def build(
    family: type[Network],
    config: Any,
    activations: Activations,
    *,
    seed: int = 0,
    abstract: bool = False,
) -> Network:
    """A network of a family with fresh weights and these activations; shapes only if `abstract`."""

    def new() -> Network:
        network = family(config, activations, rngs=nnx.Rngs(seed))
        if config.update_scale is not None:
            restrict_updates(network, config.update_scale)
        return network

    return nnx.eval_shape(new) if abstract else new()


def rebuilt(network: Network, *, seed: int = 0, abstract: bool = False, **options: Any) -> Network:
    """The same network with fresh weights and other options, its activations kept.

    Raises:
      ValueError: for an unknown or invalid option.
    """
    config = with_options(network.config, options)
    return build(type(network), config, network.activations, seed=seed, abstract=abstract)


def with_options(config: Any, options: dict[str, Any]) -> Any:
    """`config` with other values of some fields.

    Raises:
      ValueError: for an unknown or invalid option.
    """
    known = [field.name for field in dataclasses.fields(config)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"unknown option {', '.join(unknown)}; allowed: {', '.join(known)}")
    return dataclasses.replace(config, **options)


def changed_options(config: Any, id: str) -> dict[str, Any]:
    """The options of `config` that differ from what the id stands for."""
    default = variant_of(id).config
    pairs = ((f.name, getattr(config, f.name)) for f in dataclasses.fields(default))
    return {name: value for name, value in pairs if value != getattr(default, name)}


def graph_of(model: Network) -> KernelGraph:
    """The kernel graph of a model, abstract or not, traced from its own forward pass."""
    size, delta = model.config.image_size, model.config.begins_as_delta
    return kernel_graph(model, (1, size, size, model.config.in_channels), delta=delta)


@functools.lru_cache(maxsize=256)
def _solve(family: type[Network], config: Any, methods: tuple[Shaping, ...]) -> Activations:
    """The activations that meet the methods' conditions in this network."""
    unsolved = tuple(method.unsolved for method in methods)
    graph = graph_of(build(family, config, unsolved, abstract=True))
    return tuple(solve_once(method, graph) for method in methods)


def _as_tuple(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list | tuple) else (given,)


def _known(id: str) -> str:
    if id in _VARIANTS:
        return id
    near = nearest(id, _VARIANTS)
    raise UnknownModelError(f"unknown model {id!r}; {near}{near and '; '}all: zoo list")
