"""A model's parameters as a flat dict with stable, readable names.

Owns the names under which weights are trained, saved and published. Everything after building a
model works on this dict: optimisers, masks, shardings, checkpoints. The running averages of
normalisation layers are in it too; `statistics_of` tells which they are: measured, never trained.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import jax
from flax import nnx

Params = dict[str, jax.Array]
"""Arrays by name, for instance `stages.2.blocks.07.conv1.kernel`; abstract leaves while tracing."""

_Path = tuple[Any, ...]


class Fixed(nnx.Variable):
    """State of a network that is stored and published with its weights; no optimiser sees it."""


_KINDS = (nnx.Param, nnx.BatchStat, Fixed)


def split(model: nnx.Module) -> tuple[nnx.GraphDef, Params]:
    """Splits a model into its structure and its parameters.

    Names are the attribute path, list indices zero-padded to the length of their list, so that
    sorting by name is sorting by depth.

    Args:
      model: a module all of whose state is `nnx.Param`, `nnx.BatchStat` or `Fixed`; concrete or
        abstract (`nnx.eval_shape`).

    Returns:
      The static structure, and the parameters by name in the order of the names.

    Raises:
      ValueError: if the model holds other state.
    """
    graphdef, state, rest = nnx.split(model, nnx.Any(*_KINDS), ...)
    others = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(rest)]
    if others:
        raise ValueError(
            f"{', '.join(others)} is neither nnx.Param nor nnx.BatchStat; keep random keys and "
            "counters out of the model"
        )
    flat = {path: variable.get_value() for path, variable in nnx.to_flat_state(state)}
    names = _names(flat)
    return graphdef, dict(sorted((names[path], value) for path, value in flat.items()))


def merge(graphdef: nnx.GraphDef, params: Params) -> Any:
    """The model with structure `graphdef` and these parameters: the inverse of `split`.

    Cheap under `jax.jit`: the work is done once, while tracing.
    """
    return nnx.merge(graphdef, nnx.from_flat_state([(_path(n), v) for n, v in params.items()]))


def layer_at(model: nnx.Module, name: str) -> Any:
    """The part of `model` whose parameters' names begin with `name`, as `stages.2.blocks.07`."""
    layer: Any = model
    for part in _path(name) if name else ():
        layer = layer[part] if isinstance(part, int) else getattr(layer, part)
    return layer


def replace_layer(model: nnx.Module, name: str, layer: nnx.Module) -> None:
    """Puts `layer` in the place of the one that `layer_at` gives for `name`."""
    parent, _, last = name.rpartition(".")
    owner = layer_at(model, parent)
    if last.isdigit():
        owner[int(last)] = layer
    else:
        setattr(owner, last, layer)


def statistics_of(model: nnx.Module) -> frozenset[str]:
    """Names of the parameters that are running averages of batch statistics (`nnx.BatchStat`)."""
    return _names_of(model, nnx.BatchStat)


def fixed_of(model: nnx.Module) -> frozenset[str]:
    """Names of the parameters that are `Fixed`."""
    return _names_of(model, Fixed)


def train_statistics(model: nnx.Module, statistics: Iterable[str]) -> None:
    """Sets the layers of these statistics to measure their batch; all others use what they hold.

    Called, the model then normalises by the batch and updates its statistics; `split` reads them.
    """
    model.eval()
    for name in statistics:
        layer_at(model, name.rpartition(".")[0]).use_running_average = False


def in_training(module: nnx.Module) -> bool:
    """Whether some layer of `module` measures its batch."""
    modes = (getattr(part, "use_running_average", True) for _, part in nnx.iter_modules(module))
    return not all(modes)


def _names_of(model: nnx.Module, wanted: type[nnx.Variable]) -> frozenset[str]:
    kinds = {path: type(variable) for path, variable in nnx.to_flat_state(nnx.state(model))}
    names = _names(kinds)
    return frozenset(names[path] for path, kind in kinds.items() if issubclass(kind, wanted))


def _names(paths: Iterable[_Path]) -> dict[_Path, str]:
    longest: dict[_Path, int] = defaultdict(int)
    paths = list(paths)
    for path in paths:
        for depth, part in enumerate(path):
            if isinstance(part, int):
                longest[path[:depth]] = max(longest[path[:depth]], len(str(part)))
    return {
        path: ".".join(
            str(part).zfill(longest[path[:depth]]) if isinstance(part, int) else part
            for depth, part in enumerate(path)
        )
        for path in paths
    }


def _path(name: str) -> _Path:
    return tuple(int(part) if part.isdigit() else part for part in name.split("."))
