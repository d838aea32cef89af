"""Where arrays lie: one mesh over the devices, and rules from parameter names to partitions.

Parameters carry no sharding of their own; these rules are applied to the abstract state.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zoo.training.config import MeshConfig

DATA_AXIS, MODEL_AXIS = "data", "model"
_COPY = "-"

Rule = tuple[re.Pattern[str], tuple[str | None, ...]]


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Mesh [data, model] over all devices of all hosts, or the first few.

    Args:
      config: how many devices, along which axes.
      devices: to choose from; None means those that are there.

    Raises:
      ValueError: if more devices are asked for than there are, they do not divide, or a process
        would be left without one.
    """
    devices = jax.devices() if devices is None else devices
    count = config.devices or len(devices)
    if count > len(devices):
        raise ValueError(f"mesh.devices={count}: only {len(devices)} devices are there")
    if count % config.model:
        raise ValueError(f"mesh.model={config.model} does not divide {count} devices")
    if len({d.process_index for d in devices[:count]}) < len({d.process_index for d in devices}):
        raise ValueError(f"mesh.devices={count} leaves a process without a device; leave it out")
    shape, kinds = (count // config.model, config.model), (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh(shape, (DATA_AXIS, MODEL_AXIS), kinds, devices=devices[:count])


def batch_sharding(mesh: Mesh, *, stacked: bool = False) -> NamedSharding:
    """Examples split over the devices, first axis; second axis where steps are stacked."""
    return NamedSharding(
        mesh, PartitionSpec(None, DATA_AXIS) if stacked else PartitionSpec(DATA_AXIS)
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def parse_rule(text: str) -> Rule:
    """Reads "PATTERN=AXES", for instance `head.kernel=-,model`.

    Raises:
      ValueError: naming the rule and what is wrong with it.
    """
    pattern, separator, axes = text.rpartition("=")
    names = axes.split(",")
    allowed = (_COPY, DATA_AXIS, MODEL_AXIS)
    if not separator or not pattern or not all(name in allowed for name in names):
        raise ValueError(
            f"mesh.rules: {text!r}; give PATTERN=AXES with AXES a comma-separated list of "
            f"{DATA_AXIS!r}, {MODEL_AXIS!r} or {_COPY!r}, such as head.kernel=-,model"
        )
    for axis in (DATA_AXIS, MODEL_AXIS):
        if names.count(axis) > 1:
            raise ValueError(f"mesh.rules: {text!r} splits two dimensions along {axis!r}")
    try:
        return re.compile(pattern), tuple(None if name == _COPY else name for name in names)
    except re.error as error:
        raise ValueError(f"mesh.rules: {text!r} is not a regular expression: {error}") from error


def state_shardings(abstract_state: Any, mesh: Mesh, config: MeshConfig) -> Any:
    """How every leaf of a training state is stored.

    A rule holds for a parameter and for what the optimiser keeps of it under the same name and
    rank. A dimension that the devices do not divide is not split.

    Args:
      abstract_state: pytree of `jax.ShapeDtypeStruct`, parameters in dicts keyed by name.
      mesh: the devices.
      config: the rules; what no rule finds is copied to every device, or split by `fsdp`.

    Returns:
      Pytree of `NamedSharding` of the same structure.
    """
    rules = [parse_rule(rule) for rule in config.rules]

    def sharding(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        spec = _by_rule(str(names[-1]) if names else "", leaf.shape, mesh, rules)
        if spec is None:
            spec = _by_size(leaf.shape, mesh) if config.fsdp else PartitionSpec()
        return NamedSharding(mesh, spec)

    return jax.tree.map_with_path(sharding, abstract_state)


def used_shardings(stored: dict[str, NamedSharding]) -> dict[str, NamedSharding]:
    """How parameters lie while they are used: no longer split over the axis of the batch."""

    def used(sharding: NamedSharding) -> NamedSharding:
        axes = (None if axis == DATA_AXIS else axis for axis in sharding.spec)
        return NamedSharding(sharding.mesh, PartitionSpec(*axes))

    return {name: used(sharding) for name, sharding in stored.items()}


def _by_rule(
    name: str, shape: tuple[int, ...], mesh: Mesh, rules: list[Rule]
) -> PartitionSpec | None:
    for pattern, axes in rules:
        if pattern.search(name) and len(axes) == len(shape):
            sizes = zip(axes, shape, strict=True)
            return PartitionSpec(
                *(axis if axis and size % mesh.shape[axis] == 0 else None for axis, size in sizes)
            )
    return None


def _by_size(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """The largest dimension of a kernel that the devices divide, over the axis of the batch."""
    divisible = [i for i, size in enumerate(shape) if size % mesh.shape[DATA_AXIS] == 0]
    if len(shape) < 2 or not divisible:
        return PartitionSpec()
    split = max(divisible, key=lambda dimension: shape[dimension])
    return PartitionSpec(*(DATA_AXIS if i == split else None for i in range(len(shape))))
