"""Parameters that a run starts from, checked against those of its network."""

import re
from collections.abc import Sequence

from zoo.models import Params
from zoo.training.decode import ConfigError


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
