"""Where arrays lie: one mesh over the devices, and rules from parameter names to partitions.

Parameters carry no sharding of their own; these rules are applied to the abstract state.
"""

import re
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zoo.training.config import MeshConfig

DATA_AXIS = "data"
_COPY = "-"

Rule = tuple[re.Pattern[str], tuple[str | None, ...]]


def make_mesh(config: MeshConfig) -> Mesh:
    """One-dimensional mesh with axis "data" over all devices of all hosts, or the first few.

    Raises:
      ValueError: if more devices are asked for than there are.
    """
    devices = jax.devices()
    count = config.devices or len(devices)
    if count > len(devices):
        raise ValueError(f"mesh.devices={count}: only {len(devices)} devices are there")
    return jax.make_mesh((count,), (DATA_AXIS,), (AxisType.Auto,), devices=devices[:count])


def batch_sharding(mesh: Mesh, *, stacked: bool = False) -> NamedSharding:
    """Examples split over the devices, first axis; second axis where steps are stacked."""
    return NamedSharding(
        mesh, PartitionSpec(None, DATA_AXIS) if stacked else PartitionSpec(DATA_AXIS)
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def parse_rule(text: str) -> Rule:
    """Reads "PATTERN=axes", for instance `head.kernel=-,data`.

    Raises:
      ValueError: naming the rule and what is wrong with it.
    """
    pattern, separator, axes = text.rpartition("=")
    names = axes.split(",")
    if not separator or not pattern or not all(name in (_COPY, DATA_AXIS) for name in names):
        raise ValueError(
            f"mesh.rules: {text!r}; give PATTERN=AXES with AXES a comma-separated list of "
            f"{DATA_AXIS!r} or {_COPY!r}, such as head.kernel=-,data"
        )
    if names.count(DATA_AXIS) > 1:
        raise ValueError(f"mesh.rules: {text!r} splits two dimensions along {DATA_AXIS!r}")
    try:
        return re.compile(pattern), tuple(None if name == _COPY else name for name in names)
    except re.error as error:
        raise ValueError(f"mesh.rules: {text!r} is not a regular expression: {error}") from error


def state_shardings(abstract_state: Any, mesh: Mesh, rules: tuple[str, ...]) -> Any:
    """Shardings of every leaf of a training state.

    A rule holds for a parameter and for what the optimiser keeps of it under the same name and
    rank. A dimension that the devices do not divide is not split.

    Args:
      abstract_state: pytree of `jax.ShapeDtypeStruct`, parameters in dicts keyed by name.
      mesh: the devices.
      rules: as `MeshConfig.rules`; without a match a leaf is copied to every device.

    Returns:
      Pytree of `NamedSharding` of the same structure.
    """
    parsed = [parse_rule(rule) for rule in rules]

    def sharding(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        return NamedSharding(mesh, _spec(str(names[-1]) if names else "", leaf, mesh, parsed))

    return jax.tree.map_with_path(sharding, abstract_state)


def _spec(name: str, leaf: jax.ShapeDtypeStruct, mesh: Mesh, rules: list[Rule]) -> PartitionSpec:
    for pattern, axes in rules:
        if pattern.search(name) and len(axes) == len(leaf.shape):
            sizes = zip(axes, leaf.shape, strict=True)
            return PartitionSpec(
                *(axis if axis and size % mesh.shape[axis] == 0 else None for axis, size in sizes)
            )
    return PartitionSpec()
