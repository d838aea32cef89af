"""Batch statistics are part of a run: measured globally, resumed, averaged, published."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.training.tiny import digest, optimizer, tiny
from zoo.data import limit, open_source
from zoo.evaluation import evaluate
from zoo.finetuning import finetune
from zoo.models import statistics_of
from zoo.pretrained import load_pretrained, write_pretrained
from zoo.training import MeshConfig, ModelConfig, fit, prepare

CONFIG = tiny(model=ModelConfig("resnet18", stem="cifar", width=0.0625))
ON_8_DEVICES = """
import jax, json
from tests.training.test_statistics import CONFIG, after_three_steps
assert jax.device_count() == 8
losses, statistics = after_three_steps(CONFIG)
print(json.dumps([losses, {name: value.tolist() for name, value in statistics.items()}]))
"""


def after_three_steps(config):
    run = prepare(config)
    state, step, losses = run.initial_state(), run.compile()[0], []
    for number in range(3):
        state, metrics = step(state, run.place(run.pipeline.batch(number)))
        losses.append(float(metrics["loss"]))
    return losses, {name: state.params[name] for name in statistics_of(run.model)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return fit(CONFIG, tmp_path_factory.mktemp("run") / "finished", progress=False)


def test_eight_devices_measure_the_statistics_of_one():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    process = subprocess.run(
        [sys.executable, "-c", ON_8_DEVICES],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    losses, statistics = json.loads(process.stdout)
    config = dataclasses.replace(CONFIG, mesh=MeshConfig(devices=1))
    expected_losses, expected = after_three_steps(config)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    assert set(statistics) == set(expected)
    for name, value in expected.items():
        # float32 sums in another order; two examples a device would give other variances
        np.testing.assert_allclose(statistics[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def test_accumulation_keeps_the_statistics_of_the_whole_batch():
    """Of the first layer, whose input no earlier normalisation has touched."""
    run = prepare(CONFIG)
    parts = dataclasses.replace(
        run.train_step,
        config=dataclasses.replace(CONFIG, optimizer=optimizer(accumulate_steps=4)),
    )
    state, batch = run.initial_state(), run.place(run.pipeline.batch(0))
    whole, pooled = (jax.jit(s.gradients)(state, batch)[-1] for s in (run.train_step, parts))
    assert set(whole) == set(pooled) == statistics_of(run.model)
    for kind in ("mean", "var"):
        name = f"stages.0.blocks.0.norm1.{kind}"
        np.testing.assert_allclose(pooled[name], whole[name], rtol=1e-5, atol=1e-6)
        deep = f"norm.{kind}"
        assert not np.array_equal(pooled[deep], state.params[deep])


def test_statistics_are_measured_and_never_trained():
    config = tiny(model=CONFIG.model, optimizer=optimizer(weight_decay=0.1))
    run = prepare(config)
    statistics = statistics_of(run.model)
    assert statistics and run.train_step.statistics == statistics
    assert run.train_step.trained == set(run.abstract_state.params) - statistics
    kept = {
        path[-1].key
        for path, leaf in jax.tree.leaves_with_path(run.abstract_state.opt_state)
        if leaf.ndim
    }
    assert not kept & statistics


def test_resumed_equals_uninterrupted_bit_for_bit(finished, tmp_path):
    for stop in (3, 7):
        fit(CONFIG, tmp_path, progress=False, stop_after=stop)
    assert digest(fit(CONFIG, tmp_path, progress=False).state) == digest(finished.state)


def test_averaged_weights_have_averaged_statistics(tmp_path):
    config = tiny(model=CONFIG.model, ema_decay=0.5, steps=3)
    result = fit(config, tmp_path, progress=False)
    name = "norm.var"
    assert not np.array_equal(result.state.ema[name], result.state.params[name])
    assert np.array_equal(result.model.split()[1][name], result.state.ema[name])


def test_published_and_loaded_it_answers_alike(finished, tmp_path):
    folder = tmp_path / "resnet18.tiny"
    manifest = write_pretrained(
        folder, finished.model, metrics={}, recipe={"steps": 12}, data_terms="data: digits"
    )  # fmt: skip
    loaded = load_pretrained(f"dir:{folder}")
    ours, theirs = finished.model.split()[1], loaded.split()[1]
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert manifest.params == sum(
        value.size for name, value in ours.items() if name not in statistics_of(loaded.network)
    )
    assert manifest.shaping is None
    source = limit(open_source("digits", "test"), 64)
    assert evaluate(loaded, source).correct1 == evaluate(finished.run_dir, source).correct1


@pytest.mark.parametrize("train", ["head", "all"])
def test_fine_tuning_measures_what_it_trains(finished, tmp_path, train):
    start = load_pretrained(finished.run_dir)
    steps = None if train == "head" else 3
    tuned = finetune(
        start,
        "digits",
        workdir=tmp_path,
        classes=("7", "3"),
        train=train,
        steps=steps,
        progress=False,
    )
    newest = load_pretrained(tmp_path, step=tuned.steps_made)
    before, after = start.split()[1], newest.split()[1]
    measured = statistics_of(start.network)
    same = {name: np.array_equal(before[name], after[name]) for name in measured}
    assert all(same.values()) if train == "head" else not any(same.values())
    assert start.config.input_norm == tuned.model.config.input_norm == "none"
