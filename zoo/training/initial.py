"""Parameters that a run starts from: of which weight, and checked against those of its network."""

import re
from collections.abc import Sequence

from zoo.classifier import Classifier
from zoo.models import Params, parameters_of
from zoo.pretrained import load_pretrained
from zoo.training.config import TrainConfig
from zoo.training.decode import ConfigError


def starting_weight(config: TrainConfig) -> Classifier | None:
    """The weight that `config.init_from` names, for images of the run's channels; None without.

    Raises:
      ConfigError: if it is of another architecture.
      ValueError: as `load_pretrained`.
    """
    if config.init_from is None:
        return None
    weight = load_pretrained(config.init_from, in_channels=config.preprocessing.channels)
    if weight.provenance.arch != config.model.arch:
        raise ConfigError(
            f"init_from={config.init_from!r} is a {weight.provenance.arch}, model.arch a "
            f"{config.model.arch}; make them the same"
        )
    return weight


def unfit_head(weight: Classifier | None, num_classes: int) -> tuple[str, ...]:
    """Regular expressions of the parameters of a head for another number of classes."""
    if weight is None or weight.num_classes == num_classes:
        return ()
    names = parameters_of(weight.network.layout, weight.split()[1], "head")
    return tuple(f"^{re.escape(name)}$" for name in names)


def fitting(initial: Params, wanted: Params, fresh: Sequence[str]) -> Params:
    """Those of `initial` that a network with the parameters `wanted` takes over.

    Args:
      initial: given, by name.
      wanted: of the network, by name, abstract.
      fresh: regular expressions; parameters they find start at random all the same.

    Raises:
      ConfigError: lists every parameter that is missing, unknown or of another shape.
    """
    is_fresh = {name for name in wanted if any(re.search(p, name) for p in fresh)}
    lines = [f"unknown to the model: {name}" for name in initial if name not in wanted]
    for name in sorted(set(wanted) - is_fresh):
        if name not in initial:
            lines.append(f"missing: {name} {wanted[name].shape}")
        elif initial[name].shape != wanted[name].shape:
            shapes = f"{initial[name].shape} given, {wanted[name].shape} expected"
            lines.append(f"other shape: {name} is {shapes}")
    if lines:
        raise ConfigError(
            "the initial parameters do not fit the model (name those that shall start at "
            "random in `fresh`):\n  " + "\n  ".join(lines)
        )
    return {name: initial[name] for name in wanted if name not in is_fresh}
