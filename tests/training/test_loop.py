"""`fit`: interrupted runs end as uninterrupted ones, and go on only as what they are."""

import dataclasses
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.training.tiny import BASE, SOLVED, digest, optimizer, tiny
from zoo.checkpoint import list_steps, read_record
from zoo.cpu.flags import deciding_flags
from zoo.pretrained import load_pretrained
from zoo.training import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    LogConfig,
    NonFiniteError,
    OutOfMemoryError,
    ResumeError,
    TrainStep,
    fit,
    read_metrics,
)
from zoo.training.diagnosis import memory_advice
from zoo.training.folder import changed_numerics
from zoo.training.prefetch import prefetched
from zoo.training.signals import Interrupted, Preempted, StopRequest

LONG = 150


def train(config, workdir, **options):
    return fit(config, workdir, solved=SOLVED, progress=False, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of `BASE`, and how often its step was traced."""
    traces = []
    original = TrainStep.__call__

    def counted(self, state, batch):
        traces.append(self)
        return original(self, state, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainStep, "__call__", counted)
        result = train(BASE, tmp_path_factory.mktemp("run") / "finished")
    return result, len(traces)


def test_a_run_leaves_checkpoints_logs_and_a_model(finished):
    result, _ = finished
    assert list_steps(result.run_dir) == [8, 12]
    record = read_record(result.run_dir)
    assert record.metrics == result.metrics and record.record["config"] == BASE.to_json()
    assert json.loads((result.run_dir / "config.json").read_text()) == BASE.to_json()
    assert json.loads((result.run_dir / "env.json").read_text())["versions"]["jax"]
    lines = read_metrics(result.run_dir)
    assert [line["step"] for line in lines] == [*range(1, 13), 12]
    assert lines[-1]["eval"] == result.metrics and result.metrics["n"] == 64
    keys = {"loss", "top1", "learning_rate", "gradient_norm", "update_norm", "parameter_norm"}
    assert keys < set(lines[0])
    assert result.model.classes[3] == "3" and result.model.preprocess == BASE.preprocessing


def test_a_run_traces_its_step_once(finished):
    assert finished[1] == 1


def test_a_run_directory_is_a_model(finished):
    result, _ = finished
    loaded = load_pretrained(result.run_dir)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(loaded(images), result.model(images))


@pytest.mark.fault("D2")
def test_resumed_equals_uninterrupted_bit_for_bit(finished, tmp_path):
    for stop in (3, 7):
        train(BASE, tmp_path, stop_after=stop)
    result = train(BASE, tmp_path)
    assert digest(result.state) == digest(finished[0].state)
    stable = ("step", "loss", "learning_rate", "gradient_norm")
    logs = [
        [[line.get(name) for name in stable] for line in read_metrics(folder)]
        for folder in (tmp_path, finished[0].run_dir)
    ]
    assert logs[0] == logs[1]


def test_a_run_says_when_it_goes_on_under_flags_that_change_bits(tmp_path, monkeypatch, caplog):
    train(BASE, tmp_path, stop_after=1)
    numerics = read_record(tmp_path).record["numerics"]
    assert numerics["jaxlib"] == importlib.metadata.version("jaxlib")
    assert numerics["xla_flags"] == deciding_flags()
    for flag in (
        "",
        " --xla_force_host_platform_device_count=1",
        " --xla_cpu_enable_fast_math=true",
    ):
        monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", "") + flag)
        said = changed_numerics(read_record(tmp_path).record)
        assert said == ("" if "math" not in flag else _OTHER_BITS)
    train(BASE, tmp_path, stop_after=2)
    assert [record.message for record in caplog.records] == [_OTHER_BITS]


_OTHER_BITS = "the run goes on with other bits: xla_flags.xla_cpu_enable_fast_math: None -> 'true'"


@pytest.mark.fault("D17")
def test_a_finished_run_is_only_evaluated_again(finished):
    result, _ = finished
    again = train(BASE, result.run_dir)
    assert digest(again.state) == digest(result.state) and again.metrics == result.metrics
    assert again.compile_seconds == 0


@pytest.mark.fault("B4")
def test_going_on_after_a_damaged_checkpoint_starts_from_the_one_before(finished, tmp_path):
    train(BASE, tmp_path, stop_after=8)
    largest = max((tmp_path / "checkpoints" / "8").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert digest(train(BASE, tmp_path).state) == digest(finished[0].state)
    assert [line["step"] for line in read_metrics(tmp_path)] == [*range(1, 13), 12]


@pytest.mark.fault("D4", "D5", "D15", "D16")
@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (tiny(optimizer=optimizer(learning_rate=1.0)), {}, r"learning_rate: 0.05 -> 1.0"),
        (tiny(steps=20, seed=1), {}, r"(?s)seed: 0 -> 1.*steps: 12 -> 20"),
        (tiny(data=DataConfig(batch_size=16, limit=500)), {"allow_config_change": True}, r"size: "),
        (BASE, {"resume": "never"}, "already holds a run at step 12"),
    ],
    ids=["rate", "seed", "data", "never"],
)
def test_a_run_of_something_else_is_refused_with_the_difference(finished, config, options, message):
    with pytest.raises(ResumeError, match=message):
        train(config, finished[0].run_dir, **options)


def test_what_only_watches_a_run_may_change(finished):
    watched = tiny(log=LogConfig(every_steps=3), checkpoint=CheckpointConfig(every_steps=2))
    assert train(watched, finished[0].run_dir).step == 12


@pytest.mark.fault("B5")
def test_required_resume_of_nothing_is_refused(tmp_path):
    with pytest.raises(ResumeError, match="holds no checkpoint"):
        train(BASE, tmp_path, resume="required")


def test_best_checkpoint_is_that_of_the_best_evaluation(tmp_path):
    evaluation = EvalConfig(every_steps=2, limit=64, batch_size=64)
    config = tiny(eval=evaluation, ema_decay=0.9, log=LogConfig(layer_norms=True, tensorboard=True))
    result = train(config, tmp_path)
    measured = {
        line["step"]: line["eval"]["top1"] for line in read_metrics(tmp_path) if "eval" in line
    }
    assert list((tmp_path / "tensorboard").glob("events.*"))
    assert "head.kernel" in read_metrics(tmp_path)[0]["layers"]["update"]
    best = read_record(tmp_path, "best")
    assert sorted(measured) == [2, 4, 6, 8, 10, 12]
    assert best.metrics["top1"] == max(measured.values()) == measured[best.step]
    averaged = np.asarray(result.model.network.head.kernel[...])
    assert np.array_equal(averaged, result.state.ema["head.kernel"])
    assert not np.array_equal(averaged, result.state.params["head.kernel"])


@pytest.mark.fault("D1")
def test_a_run_that_diverges_stops_with_step_and_layer(tmp_path):
    config = tiny(optimizer=optimizer(learning_rate=1e9), log=LogConfig(every_steps=5))
    with pytest.raises(NonFiniteError, match=r"step \d is not finite: first in ") as caught:
        train(config, tmp_path)
    assert caught.value.step < 5
    assert list_steps(tmp_path) == []


def _child(workdir, cache) -> subprocess.Popen:
    environment = {
        **os.environ, "JAX_COMPILATION_CACHE_DIR": cache, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.child", str(workdir), str(LONG)],
        cwd=REPOSITORY, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _signal_at(process, workdir, step, number) -> int:
    """Sends a signal once the log of the run reaches `step`; returns the exit code."""
    deadline = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < deadline:
        if any(line["step"] >= step for line in read_metrics(workdir)):
            process.send_signal(number)
            break
        time.sleep(0.01)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.fault("D2")
def test_killed_and_resumed_equals_never_killed(tmp_path, compilation_cache):
    workdir = tmp_path / "killed"
    workdir.mkdir()
    assert _signal_at(_child(workdir, compilation_cache), workdir, 20, signal.SIGTERM) == 75
    stopped_at = max(list_steps(workdir))
    assert stopped_at >= 20
    killed = _signal_at(
        _child(workdir, compilation_cache), workdir, stopped_at + 30, signal.SIGKILL
    )
    assert killed == -signal.SIGKILL
    assert stopped_at <= max(list_steps(workdir)) < LONG
    config = dataclasses.replace(BASE, steps=LONG)
    resumed, never_killed = (train(config, path) for path in (workdir, tmp_path / "never_killed"))
    assert digest(resumed.state) == digest(never_killed.state)


@pytest.mark.fault("D6", "D7")
@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [(signal.SIGTERM, Preempted, 75), (signal.SIGINT, Interrupted, 130)],
)
def test_the_first_signal_asks_and_the_second_acts(number, kind, code):
    acted = []
    before = signal.signal(number, lambda *_: acted.append(number))
    try:
        with StopRequest() as stop:
            for _ in range(2):  # a launcher and a parent tell the same process
                os.kill(os.getpid(), number)
                assert stop.received(1) == number and not acted
            time.sleep(1.1)
            os.kill(os.getpid(), number)
            assert acted == [number]
            error = stop.error(number, 7)
    finally:
        signal.signal(number, before)
    assert isinstance(error, kind) and error.exit_code == code and error.step == 7
    assert jax.process_count() == 1


@pytest.mark.fault("D13")
def test_too_little_memory_says_what_to_change():
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
    with pytest.raises(OutOfMemoryError, match=r"batch_size=16 in 1 part .*accumulate_steps=2"):
        with memory_advice(BASE):
            raise full
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        with memory_advice(BASE):
            raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_prefetching_keeps_order_and_raises_what_the_source_raised():
    def items():
        yield from range(5)
        raise OSError("the disk is gone")

    with prefetched(items()) as ready:
        assert [next(ready) for _ in range(5)] == list(range(5))
        with pytest.raises(OSError, match="the disk is gone"):
            next(ready)
