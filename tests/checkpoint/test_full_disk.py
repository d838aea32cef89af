"""A disk that is really full: the save is reported lost, the steps before it are exact."""

import os
import subprocess

import jax
import jax.numpy as jnp
import pytest

from tests.checkpoint.states import abstract, same_bits
from zoo.checkpoint import CheckpointSaveError, RunCheckpoints, list_steps, read_checkpoint

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def state(step, megabytes=2):
    return {"w": jax.random.normal(jax.random.key(step), (megabytes << 18,))}


@pytest.mark.fault("C4")
def test_a_full_disk_loses_only_the_save_that_did_not_fit(small_disk):
    run = small_disk / "run"
    with RunCheckpoints(run, keep_last=20, keep_best=0) as checkpoints:
        with pytest.raises(CheckpointSaveError, match="is full") as caught:
            for step in range(1, 20):
                checkpoints.save(step, state(step))
        lost = caught.value.step
        assert caught.value.out_of_space
        assert 3 <= lost <= 8
        assert checkpoints.latest_step == lost - 1
        assert {p.name for p in (run / "checkpoints").iterdir()} == set(map(str, range(1, lost)))
        # Once there is space again the same process goes on.
        checkpoints.save(50, {"w": jnp.ones(3)})
        checkpoints.wait()
        assert checkpoints.latest_step == 50
    assert list_steps(run) == [*range(1, lost), 50]
    for step in range(1, lost):
        assert same_bits(read_checkpoint(run, abstract(state(0)), step).state, state(step))
