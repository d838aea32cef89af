"""Arrays that lie on the devices of several processes."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def batch_part(sharding: NamedSharding, size: int) -> tuple[int, int]:
    """Which part of a batch this process has to bring, so that all together bring each row once.

    Processes whose devices hold the same rows bring the same part.

    Args:
      sharding: of the batch, whose first axis it splits evenly.
      size: rows of the batch.

    Returns:
      Number of the part, and how many there are.

    Raises:
      ValueError: if processes share some of their rows only.
    """
    rows: dict[int, set[int]] = {}
    for device, index in sharding.devices_indices_map((size,)).items():
        rows.setdefault(device.process_index, set()).add(index[0].start or 0)
    parts = sorted({tuple(sorted(starts)) for starts in rows.values()})
    if sum(map(len, parts)) != len({start for part in parts for start in part}):
        raise ValueError(
            "processes share some of the rows of a batch only; give mesh.model a divisor or a "
            "multiple of the devices of one process"
        )
    return parts.index(tuple(sorted(rows[jax.process_index()]))), len(parts)


def everywhere(tree: Any, mesh: Mesh) -> Any:
    """Arrays that are whole in every process, or spread over all, copied to every device."""
    target = NamedSharding(mesh, PartitionSpec())

    def is_spread(x: Any) -> bool:
        return isinstance(x, jax.Array) and not x.is_fully_addressable

    def copied(x: Any) -> Any:
        if target.is_fully_addressable:
            return jax.device_put(x, target)
        return jax.make_array_from_process_local_data(target, np.asarray(x))

    leaves, treedef = jax.tree.flatten(tree)
    spread = [x for x in leaves if is_spread(x)]
    # One program for all: programs in flight at the same time may ask the other processes in
    # another order than those do.
    gathered = iter(jax.jit(_same, out_shardings=target)(spread) if spread else ())
    return treedef.unflatten([next(gathered) if is_spread(x) else copied(x) for x in leaves])


def _same(arrays: list[jax.Array]) -> list[jax.Array]:
    return arrays
