"""Rules give partitions; a run on eight devices is the run on one."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from tests.conftest import REPOSITORY
from tests.training.tiny import ACTIVATION, tiny
from zoo.training import MeshConfig, fit, read_metrics
from zoo.training.sharding import parse_rule, state_shardings

LOSSES_ON_8_DEVICES = """
import jax, json, sys
from tests.training.tiny import ACTIVATION, tiny
from zoo.training import MeshConfig, prepare
assert jax.device_count() == 8
run = prepare(tiny(mesh=MeshConfig(rules=tuple(sys.argv[1:]))), activation=ACTIVATION)
state, step, losses = run.initial_state(), run.compile()[0], []
shard = state.params["head.kernel"].addressable_shards[0].data.shape
for number in range(run.total_steps):
    batch = run.place(run.pipeline.batch(number))
    assert batch["image"].addressable_shards[0].data.shape == (2, 8, 8, 1)
    state, metrics = step(state, batch)
    losses.append(float(metrics["loss"]))
print(json.dumps([shard, losses]))
"""


def test_rules_split_parameters_and_what_the_optimizer_keeps_of_them():
    mesh = Mesh(np.asarray(jax.devices()[:1]), ("data",))
    kernel, bias = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((32, 10), (10,)))
    state = {"params": {"head.kernel": kernel, "head.bias": bias}, "mu": ({"head.kernel": kernel},)}
    found = state_shardings(state, mesh, ("head.*=-,data",))
    split = PartitionSpec(None, "data")
    assert found["params"]["head.kernel"].spec == found["mu"][0]["head.kernel"].spec == split
    assert found["params"]["head.bias"].spec == PartitionSpec()


@pytest.mark.parametrize("rule", ["kernel", "=data", "k=model", "k=data,data", "[=data"])
def test_rules_that_cannot_be_read_are_refused(rule):
    with pytest.raises(ValueError, match="mesh.rules: "):
        parse_rule(rule)


SPLIT = ("head.kernel=data,-", r"conv\d.kernel=-,-,-,data")
CASES = [((), [32, 10]), pytest.param(SPLIT, [4, 10], marks=pytest.mark.slow)]


@pytest.mark.parametrize(("rules", "shard"), CASES, ids=["copied", "split"])
def test_eight_devices_give_the_losses_of_one(tmp_path, rules, shard):
    fit(tiny(mesh=MeshConfig(devices=1)), tmp_path, activation=ACTIVATION, progress=False)
    on_one = [line["loss"] for line in read_metrics(tmp_path) if "loss" in line]
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    process = subprocess.run(
        [sys.executable, "-c", LOSSES_ON_8_DEVICES, *rules],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    shard_of_head, on_eight = json.loads(process.stdout)
    assert shard_of_head == shard
    # float32 sums in another order, amplified over 12 steps
    np.testing.assert_allclose(on_eight, on_one, rtol=1e-4)
