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
from tests.training.tiny import SOLVED, tiny
from zoo.training import MeshConfig, fit, read_metrics
from zoo.training.sharding import parse_rule, state_shardings, used_shardings

LOSSES_ON_8_DEVICES = """
import jax, json, sys
from tests.training.tiny import SOLVED, tiny
from zoo.training import MeshConfig, prepare
assert jax.device_count() == 8
run = prepare(tiny(mesh=MeshConfig(**json.loads(sys.argv[1]))), solved=SOLVED)
state, step, losses = run.initial_state(), run.compile()[0], []
shard = state.params["head.kernel"].addressable_shards[0].data.shape
for number in range(run.total_steps):
    batch = run.place(run.pipeline.batch(number))
    share = 2 * run.config.mesh.model
    assert batch["image"].addressable_shards[0].data.shape == (share, 8, 8, 1)
    state, metrics = step(state, batch)
    losses.append(float(metrics["loss"]))
print(json.dumps([shard, losses]))
"""


def test_rules_split_parameters_and_what_the_optimizer_keeps_of_them():
    found = state_shardings(_state(), _mesh(), MeshConfig(rules=("head.*=-,data",)))
    split = PartitionSpec(None, "data")
    assert found["params"]["head.kernel"].spec == found["mu"][0]["head.kernel"].spec == split
    assert found["params"]["head.bias"].spec == PartitionSpec()


@pytest.mark.fault("B10")
def test_fsdp_splits_the_largest_dimension_of_what_no_rule_finds():
    config = MeshConfig(fsdp=True, rules=("conv.*=-,model",))
    found = state_shardings(_state(), _mesh(), config)
    assert found["params"]["head.kernel"].spec == PartitionSpec("data", None)
    assert found["params"]["head.bias"].spec == PartitionSpec()
    assert found["params"]["conv.kernel"].spec == PartitionSpec(None, "model")


def test_in_use_only_the_model_axis_splits():
    stored = state_shardings(_state(), _mesh(), MeshConfig(rules=("kernel=data,model",)))["params"]
    assert used_shardings(stored)["head.kernel"].spec == PartitionSpec(None, "model")


def _mesh():
    return Mesh(np.asarray(jax.devices()[:1]).reshape(1, 1), ("data", "model"))


def _state():
    shapes = {"head.kernel": (32, 10), "head.bias": (10,), "conv.kernel": (32, 32)}
    params = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in shapes.items()}
    return {"params": params, "mu": ({"head.kernel": params["head.kernel"]},)}


@pytest.mark.parametrize(
    "rule", ["kernel", "=data", "k=host", "k=model,model", "k=data,data", "[=data"]
)
def test_rules_that_cannot_be_read_are_refused(rule):
    with pytest.raises(ValueError, match="mesh.rules: "):
        parse_rule(rule)


CASES = {
    "copied": ({}, [32, 10]),
    "fsdp": ({"fsdp": True}, [4, 10]),
    "model": ({"model": 2, "rules": ["head.kernel=-,model"]}, [32, 5]),
    "fsdp-and-model": ({"model": 2, "fsdp": True, "rules": [r"conv.*=-,-,data,model"]}, [8, 10]),
}
DEFAULT = ("copied", "fsdp")


@pytest.mark.fault("B10")
@pytest.mark.parametrize(
    ("mesh", "shard"),
    [
        pytest.param(*case, id=name, marks=() if name in DEFAULT else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
def test_eight_devices_give_the_losses_of_one(tmp_path, mesh, shard):
    fit(tiny(mesh=MeshConfig(devices=1)), tmp_path, solved=SOLVED, progress=False)
    on_one = [line["loss"] for line in read_metrics(tmp_path) if "loss" in line]
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    process = subprocess.run(
        [sys.executable, "-c", LOSSES_ON_8_DEVICES, json.dumps(mesh)],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    shard_of_head, on_eight = json.loads(process.stdout)
    assert shard_of_head == shard
    # float32 sums in another order, amplified over 12 steps
    np.testing.assert_allclose(on_eight, on_one, rtol=1e-4)
