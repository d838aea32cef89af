"""Plans of real steps on eight emulated devices: memory and communication that arithmetic gives."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import jax
import pytest

from tests.conftest import REPOSITORY, json_from_8_devices
from tests.training.tiny import tiny
from zoo.models import create_model, split
from zoo.planning import PlanError, plan
from zoo.planning.topology import find_topology

CONFIG = """
import dataclasses
from tests.training.tiny import tiny
from zoo.training import ModelConfig

def get_config():
    model = dataclasses.replace(tiny().model, num_classes=10, scan=True)
    return dataclasses.replace(tiny(), model=model)
"""

PLANS = """
import dataclasses, json
from tests.training.tiny import tiny
from zoo.planning import plan
from zoo.training import MeshConfig

model = dataclasses.replace(tiny().model, num_classes=10, scan=True)

def found(topology, **mesh):
    return plan(tiny(model=model, mesh=MeshConfig(**mesh)), topology).to_json()

split = found("cpu:8", model=2, rules=("head.kernel=-,model",))
print(json.dumps({"fsdp": found("gpu:8", fsdp=True), "model": split}))
"""


def zoo_plan(tmp_path, *arguments):
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-m", "zoo", "plan", str(config), *arguments],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def parameter_bytes():
    model = create_model("vanilla_resnet18_tat_lrelu", stem="cifar", width=0.0625, num_classes=10,
                         in_channels=1, abstract=True)  # fmt: skip
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(split(model)[1]))


def test_data_parallel_sums_every_gradient_once_and_gathers_nothing(tmp_path):
    done = zoo_plan(tmp_path, "--topology", "cpu:8", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["memory"]["parameters"] == parameter_bytes()
    assert set(found["collectives"]) == {"all-reduce"}
    # loss and top-1 are the two further scalars
    assert found["collectives"]["all-reduce"]["bytes"] == parameter_bytes() + 8
    assert found["link_bytes"] == pytest.approx(2 * 7 / 8 * (parameter_bytes() + 8))
    assert found["capacity"] is None and found["fits"] is None
    assert found["chip_batch"] == tiny().data.batch_size // 8


@pytest.fixture(scope="module")
def plans():
    """More plans of the same step, made in one process with eight devices."""
    return json_from_8_devices(PLANS)


def test_fsdp_stores_an_eighth_and_gathers_every_kernel(plans):
    found = plans["fsdp"]
    assert found["memory"]["parameters"] < 0.2 * parameter_bytes()
    assert found["collectives"]["all-gather"]["bytes"] > 0.9 * parameter_bytes()


def test_chips_along_the_model_axis_compute_the_same_examples(plans):
    assert plans["model"]["chip_batch"] == tiny().data.batch_size // 4


def test_gpus_that_are_not_here_are_planned_for_by_the_compiler_that_is(plans):
    found = plans["fsdp"]
    assert found["topology"] == "gpu:8" and found["chips"] == 8
    assert not found["native"] and found["compiler"].startswith("jaxlib ")
    assert found["fits"] and found["seconds"]


@pytest.mark.parametrize(
    ("topology", "sentence"),
    [
        ("v9:4x4", "topology 'v9:4x4': give v4, v5e, v5p, v6e, gpu or cpu, as in v5e:4x4"),
        ("cpu:4096", "device_count=4096"),
        ("gpu:4096", "device_count=4096"),
        ("cpu:1", "model.num_classes is None; give it, since a plan opens no data"),
    ],
)
def test_mistakes_are_named(topology, sentence):
    config = tiny(model=dataclasses.replace(tiny().model, num_classes=None))
    with pytest.raises(PlanError, match=sentence):
        plan(config, topology)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_the_compiler_of_the_tpu_sums_every_gradient_once(tmp_path):
    done = zoo_plan(tmp_path, "--topology", "v5e:4x4", "--model.dtype", "bfloat16", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["chips"] == 16 and found["fits"]
    assert set(found["collectives"]) == {"all-reduce"}
    # computed in bfloat16, summed in float32
    assert found["collectives"]["all-reduce"]["bytes"] == pytest.approx(parameter_bytes(), rel=0.05)


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed")
def test_a_chip_of_two_cores_counts_once():
    found = find_topology("v4:2x2x2")
    assert found.count == len(found.devices) == 8
