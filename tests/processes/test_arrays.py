"""Which rows of a batch a process brings, by where its devices lie in the mesh."""

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from zoo.processes.arrays import batch_part, everywhere


def sharding(rows: list[tuple[int, int]]) -> Any:
    """Of a batch of 8, by (process, first row) of every device."""

    class Device(SimpleNamespace):
        __hash__ = object.__hash__

    places = {Device(process_index=p): (slice(first, None),) for p, first in rows}
    return SimpleNamespace(devices_indices_map=lambda shape: places)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, 0)], (0, 1)),
        ([(0, 0), (0, 4)], (0, 1)),
        ([(0, 0), (0, 2), (1, 4), (1, 6)], (0, 2)),
        ([(1, 0), (1, 2), (0, 4), (0, 6)], (1, 2)),
        ([(0, 0), (1, 2), (0, 4), (1, 6)], (0, 2)),  # a mesh laid out by the wires
        ([(0, 0), (0, 4), (1, 0), (1, 4)], (0, 1)),  # one model over both processes
        ([(2, 0), (3, 0), (0, 4), (1, 4)], (1, 2)),
    ],
)
def test_all_processes_together_bring_every_row_once(rows, expected):
    assert batch_part(sharding(rows), 8) == expected


def test_processes_that_share_some_of_their_rows_are_refused():
    with pytest.raises(ValueError, match="share some of the rows"):
        batch_part(sharding([(0, 0), (0, 4), (1, 4), (1, 6)]), 8)


def test_arrays_are_copied_to_the_devices_of_a_mesh():
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("data",))
    copied = everywhere({"a": np.arange(3)}, mesh)
    assert copied["a"].sharding.spec == PartitionSpec() and copied["a"].tolist() == [0, 1, 2]
