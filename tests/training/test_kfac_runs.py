"""K-FAC inside a run: interrupted, accumulated, on many devices, many steps per dispatch."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.conftest import json_from_8_devices
from tests.training.tiny import BASE, SOLVED, digest, optimizer, tiny
from zoo.checkpoint import list_steps
from zoo.training import ConfigError, KfacConfig, ModelConfig, fit, prepare, validate

# The last layers: what comes before them is the same for all optimisers.
KFAC = tiny(
    steps=6,
    trainable=r"^(stages\.3\.blocks\.1\.conv2|head)\.",
    optimizer=optimizer(
        name="kfac",
        learning_rate=3e-3,
        weight_decay=1e-4,
        clip_norm=None,
        kfac=KfacConfig(inverse_period=2, burnin_steps=1),
    ),
    ema_decay=0.9,
)
STEPS_ON_8_DEVICES = """
import dataclasses, json, sys
from tests.training.test_kfac_runs import KFAC, losses_and_head
from zoo.training import MeshConfig
mesh = MeshConfig(fsdp=sys.argv[1] == "fsdp")
print(json.dumps(losses_and_head(dataclasses.replace(KFAC, mesh=mesh))))
"""


def losses_and_head(config):
    """Losses of six steps, and the head's bias after them."""
    run = prepare(config, solved=SOLVED)
    state, step, losses = run.initial_state(), run.compile()[0], []
    for number in range(6):
        state, metrics = step(state, run.place(run.pipeline.batch(number)))
        losses.append(float(metrics["loss"]))
    return losses, np.asarray(state.params["head.bias"]).tolist()


@pytest.mark.slow  # `test_kfac.py` has the same of three layers
@pytest.mark.parametrize("storage", ["copied", "fsdp"])
def test_eight_devices_take_the_steps_of_one(storage):
    expected, found = losses_and_head(KFAC), json_from_8_devices(STEPS_ON_8_DEVICES, storage)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-5)  # float32, inverted thrice


@pytest.mark.slow
def test_statistics_of_parts_average_to_those_of_the_batch():
    run = prepare(KFAC, solved=SOLVED)
    parts = dataclasses.replace(KFAC.optimizer, accumulate_steps=4)
    split = dataclasses.replace(run.train_step, config=tiny(optimizer=parts))
    state, batch = run.initial_state(), run.place(run.pipeline.batch(0))
    whole, found = (jax.jit(s.gradients)(state, batch)[2] for s in (run.train_step, split))
    assert whole.keys() == found.keys() == {"stages.3.blocks.1.conv2", "head"}
    for name, (inputs, outputs) in whole.items():
        scale = float(np.abs(inputs).max())
        np.testing.assert_allclose(found[name][0], inputs, atol=1e-5 * scale)
        # Labels are drawn anew, so that only their mean agrees: the trace within a factor of 3.
        assert 1 / 3 < float(np.trace(found[name][1]) / np.trace(outputs)) < 3


def test_an_interrupted_run_ends_with_the_same_bits_and_names_its_blocks(tmp_path, capsys):
    options = {"solved": SOLVED}
    whole = fit(KFAC, tmp_path / "whole", **options)
    assert "K-FAC: 2 blocks of the Fisher matrix\n  head: kernel, bias" in capsys.readouterr().err
    fit(KFAC, tmp_path / "cut", stop_after=3, **options)  # between two inversions
    again = fit(KFAC, tmp_path / "cut", **options)
    assert list_steps(tmp_path / "cut")[-1] == again.step == 6
    assert digest(again.state) == digest(whole.state)


def test_a_network_that_normalises_by_the_batch_is_refused_before_anything_is_compiled():
    config = dataclasses.replace(
        KFAC, model=ModelConfig("resnet18", stem="cifar", width=0.0625), trainable=".*"
    )
    with pytest.raises(ConfigError, match="this network normalises by the batch"):
        prepare(config)


def test_its_settings_are_checked():
    wrong = KfacConfig(damping=0, norm_constraint=-1.0, curvature_decay=1.0, inverse_period=0)
    config = dataclasses.replace(KFAC, optimizer=optimizer(name="kfac", kfac=wrong))
    with pytest.raises(ConfigError) as caught:
        validate(config)
    for field in ("damping=0", "norm_constraint=-1.0", "curvature_decay=1.0", "inverse_period=0"):
        assert f"optimizer.kfac.{field}: give" in str(caught.value)


@pytest.mark.slow
def test_how_a_run_is_cut_into_dispatches_changes_no_bit(tmp_path):
    data = dataclasses.replace(BASE.data, resident=True)
    found = [
        fit(
            dataclasses.replace(KFAC, data=data, steps_per_dispatch=size),
            tmp_path / str(size),
            solved=SOLVED,
            progress=False,
        )
        for size in (2, 3)
    ]
    assert len({digest(one.state) for one in found}) == 1
