"""Checkpoints of earlier formats stay readable for ever.

`python -m tests.checkpoint.test_frozen 1` wrote the ones of format 1; a new format gets a new
folder beside them.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.checkpoint.states import abstract, same_bits
from zoo.checkpoint import RunCheckpoints, load_weights, read_checkpoint, save_weights

FROZEN = Path(__file__).with_name("frozen")
STATE = {
    "step": np.int32(3),
    "params": {
        "stages.0.blocks.07.conv1.kernel": np.linspace(-1, 1, 36, dtype="f").reshape(3, 3, 2, 2),
        "head.bias": np.linspace(-1, 1, 5, dtype="f").astype(jnp.bfloat16),
    },
    "key": np.array([1, 2], np.uint32),
}
RECORD = {"config": {"seed": 1}}


@pytest.mark.fault("B16")
@pytest.mark.parametrize("folder", sorted(FROZEN.iterdir()), ids=lambda path: path.name)
def test_a_frozen_checkpoint_reads_as_it_was_written(folder):
    restored = read_checkpoint(folder / "run", abstract(STATE))
    assert same_bits(restored.state, STATE)
    assert (restored.step, restored.record) == (3, RECORD)
    assert restored.metrics == {"top1": 0.5}
    weights = load_weights(folder / "weights", abstract(STATE["params"]))
    assert same_bits(weights, STATE["params"])


def freeze(folder: Path) -> None:
    """Writes below `folder`, whose path ends up in Orbax's own files."""
    with RunCheckpoints(folder / "run") as checkpoints:
        checkpoints.save(3, STATE, metrics={"top1": 0.5}, record=RECORD)
    (folder / "run" / ".lock").unlink()
    save_weights(folder / "weights", jax.tree.map(jnp.asarray, STATE["params"]))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        freeze(Path(work) / "frozen")
        shutil.copytree(Path(work) / "frozen", FROZEN / f"format{sys.argv[1]}")
