"""Several real processes train as one does, stop together, and go on as if nothing had happened."""

import dataclasses
import functools
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.processes.runs import (
    HEARTBEAT_SECONDS,
    LOCAL,
    ZOO,
    Processes,
    environment,
    free_port,
    kill_process,
    wait_for_checkpoint,
    wait_for_step,
)
from tests.training.tiny import digest
from zoo.checkpoint import list_steps, read_record
from zoo.evaluation import evaluate
from zoo.pretrained import load_pretrained
from zoo.training import FitResult, fit, load_config, read_metrics

SMOKE = "configs/smoke_digits.py"
STEPS = 48
# Each step logged, every eighth saved.
CHANGES = {"steps": STEPS, "eval": 0, "log": 1, "checkpoint": 8}
# The longest time in which all others stop.
BOUND_SECONDS = 60


def command(workdir: Path, *options: object) -> list[str]:
    """`zoo train` of the smallest network with `CHANGES`."""
    periods = [(f"--{name}.every-steps", CHANGES[name]) for name in ("eval", "log", "checkpoint")]
    given = ("train", SMOKE, "--workdir", workdir, "--steps", STEPS, *sum(periods, ()), *options)
    return [str(item) for item in given]


def here(workdir: Path) -> FitResult:
    """The same in this process, on one device."""
    config = load_config(REPOSITORY / SMOKE)
    periods = {
        name: dataclasses.replace(getattr(config, name), every_steps=CHANGES[name])
        for name in ("eval", "log", "checkpoint")
    }
    return fit(dataclasses.replace(config, steps=STEPS, **periods), workdir, progress=False)


def parameters(workdir: Path) -> str:
    """Hash over every bit of the parameters of a run's newest checkpoint."""
    return digest(load_pretrained(workdir).split()[1])


def logged(workdir: Path) -> list[dict[str, Any]]:
    """All lines of the log, but the speed."""
    return [{**line, "images_per_second": None} for line in read_metrics(workdir)]


def losses(workdir: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(workdir) if "loss" in line]


def assert_same_losses(one: Path, other: Path) -> None:
    """Compares two runs on other numbers of devices, as far as that can be told."""
    assert len(losses(one)) == len(losses(other)) == STEPS
    # Float32 sums in another order: in one process, one device and two differ by 2e-7 at step 16,
    # 8e-6 at step 24 and 5e-2 at step 40, so fast does this short run amplify them.
    np.testing.assert_allclose(losses(one)[:24], losses(other)[:24], rtol=1e-4)


def alone(workdir: Path, devices: int) -> Path:
    """A run in one process of so many devices, to its end."""
    one = Processes(workdir.with_name(f"log-{devices}"), 1, *command(workdir), devices=devices)
    assert one.codes() == [0], one.said(0)
    return workdir


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of this process."""
    return here(tmp_path_factory.mktemp("here") / "run").run_dir


@pytest.fixture(scope="module")
def two_devices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in one process of two devices."""
    return alone(tmp_path_factory.mktemp("alone") / "run", 2)


def launched(workdir: Path, restarts: int) -> subprocess.Popen[str]:
    """Two processes of `tools/launch/local.sh`."""
    return subprocess.Popen(
        [LOCAL, "2", *ZOO, *command(workdir)],
        cwd=REPOSITORY, env=environment(PORT=free_port(), RESTARTS=restarts), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.fault("C13", "D4", "D8")
def test_one_of_two_is_killed_and_the_run_goes_on_as_one(tmp_path, on_one_device):
    workdir = tmp_path / "run"
    launcher = launched(workdir, restarts=0)
    wait_for_checkpoint(workdir)
    kill_process(launcher.pid, 1)
    errors = launcher.communicate(timeout=BOUND_SECONDS)[1]
    assert launcher.returncode == 75
    assert errors.count("another process of this run is lost") == 1, errors
    assert STEPS > list_steps(workdir)[-1] >= 8
    assert here(workdir).step == STEPS
    assert_same_losses(workdir, on_one_device)


@pytest.mark.fault("D12", "E8")
def test_an_evaluation_counts_every_image_once_on_two_processes(tmp_path, on_one_device):
    measure = ("eval", on_one_device, "--data", "digits", "--batch-size", 100, "--json")
    files = ("--logits", tmp_path / "both.npz", "--csv", tmp_path / "both.csv")
    both = Processes(tmp_path / "both", 2, *measure, *files, devices=2)
    assert both.codes() == [0, 0], both.said(0) + both.said(1)
    # Process 0 alone speaks and writes.
    assert "{" not in both.outputs[1].read_text()
    assert len((tmp_path / "both.csv").read_text().splitlines()) == 2
    told = json.loads(both.answer())
    expected = evaluate(load_pretrained(on_one_device), "digits", keep_logits=True)
    assert told["device"] == "4 x cpu" and told["n"] == expected.n == 360
    assert (told["correct1"], told["correct5"]) == (expected.correct1, expected.correct5)
    assert expected.answers is not None
    logits = np.load(tmp_path / "both.npz")["logits"]
    np.testing.assert_allclose(logits, expected.answers.logits, rtol=1e-4, atol=1e-5)  # float32


@pytest.mark.fault("C13", "D2")
@pytest.mark.slow
def test_killed_and_started_again_two_processes_end_as_one_bit_for_bit(tmp_path, two_devices):
    workdir = tmp_path / "run"
    launcher = launched(workdir, restarts=1)
    wait_for_step(workdir, 9)
    kill_process(launcher.pid, 1)
    errors = launcher.communicate(timeout=300)[1]
    assert launcher.returncode == 0, errors
    assert errors.count("local.sh: starting all 2 processes again") == 1
    # The sum of two gradients is the same bits in every order.
    assert parameters(workdir) == parameters(two_devices)
    assert logged(workdir) == logged(two_devices)


@pytest.mark.slow
def test_two_and_four_processes_give_the_losses_of_one(tmp_path, on_one_device):
    on_four_devices = alone(tmp_path / "alone", 4)
    for processes, devices in ((2, 2), (4, 1)):
        workdir = tmp_path / f"run-{processes}"
        log = tmp_path / f"log-{processes}"
        together = Processes(log, processes, *command(workdir), devices=devices)
        assert together.codes() == [0] * processes, together.said(0)
        for one in (on_four_devices, on_one_device):
            assert_same_losses(workdir, one)
        assert read_record(workdir).metrics["n"] == 360


@pytest.mark.fault("D6")
@pytest.mark.slow
def test_sigterm_to_one_stops_all_at_the_same_step(tmp_path, two_devices):
    workdir = tmp_path / "run"
    both = Processes(tmp_path / "log", 2, *command(workdir))
    wait_for_step(workdir, 9)
    both.all[1].send_signal(signal.SIGTERM)
    assert both.codes() == [75, 75]
    (saved,) = {both.said(k).split("step ")[-1].split(" is saved")[0] for k in (0, 1)}
    assert list_steps(workdir)[-1] == int(saved) < STEPS
    again = Processes(tmp_path / "again", 2, *command(workdir))
    assert again.codes() == [0, 0]
    assert parameters(workdir) == parameters(two_devices)


@pytest.mark.fault("C13", "D8", "D9")
@pytest.mark.slow
@pytest.mark.parametrize(("victim", "number"), [(0, "SIGKILL"), (1, "SIGSTOP"), (0, "SIGSTOP")])
def test_a_lost_process_ends_the_other_in_bounded_time(tmp_path, victim, number, two_devices):
    workdir = tmp_path / "run"
    both = Processes(tmp_path / "log", 2, *command(workdir))
    wait_for_step(workdir, 9)
    lost, other = both.all[victim], both.all[1 - victim]
    worker = int(Path(f"/proc/{lost.pid}/task/{lost.pid}/children").read_text().split()[0])
    subprocess.run(["kill", "-s", number[3:], str(worker)], check=True)
    started = time.monotonic()
    assert other.wait(BOUND_SECONDS) == 75
    assert time.monotonic() - started < HEARTBEAT_SECONDS + 20
    assert "another process of this run is lost" in both.said(1 - victim)
    # A frozen process still holds the run, until its scheduler ends it.
    if number == "SIGSTOP":
        os.kill(worker, signal.SIGKILL)
    lost.wait()
    assert Processes(tmp_path / "again", 2, *command(workdir)).codes() == [0, 0]
    assert parameters(workdir) == parameters(two_devices)


@pytest.mark.fault("D11")
@pytest.mark.slow
def test_processes_that_are_not_alike_are_refused(tmp_path):
    address = {"ZOO_COORDINATOR": f"localhost:{free_port()}", "ZOO_PROCESSES": 2}
    started = [
        subprocess.Popen(
            [*ZOO, *command(tmp_path / "run", "--seed", seed)],
            cwd=REPOSITORY, env=environment(ZOO_PROCESS_ID=seed, **address), text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    for process in started:
        errors = process.communicate(timeout=300)[1]
        assert process.returncode == 2
        assert "process 1 differs from process 0 in configuration.seed: 0 -> 1" in errors


@pytest.mark.fault("D10")
@pytest.mark.slow
def test_alone_a_process_of_two_says_that_it_found_no_other(tmp_path):
    settings = {"ZOO_COORDINATOR": "localhost:1", "ZOO_PROCESSES": 2, "ZOO_PROCESS_ID": 1}
    ended = subprocess.run(
        [*ZOO, *command(tmp_path / "run")], cwd=REPOSITORY, capture_output=True, text=True,
        env=environment(ZOO_JOIN_SECONDS=5, **settings),
    )  # fmt: skip
    assert ended.returncode == 75
    assert "process 1 of 2 did not find the others at localhost:1 within 5 s" in ended.stderr


@pytest.mark.fault("B9", "D4")
@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [((2, 4), (1, 1)), ((1, 1), (2, 4))])
def test_a_split_run_goes_on_on_another_mesh(tmp_path, before, after, on_one_device):
    workdir, fsdp = tmp_path / "run", ("--mesh.fsdp",)
    first, second = (
        functools.partial(
            Processes, tmp_path / str(case), count, *command(workdir, *fsdp), devices=n
        )
        for case, (count, n) in (("before", before), ("after", after))
    )
    started = first()
    wait_for_step(workdir, 9)
    started.all[0].send_signal(signal.SIGTERM)
    assert started.codes() == [75] * before[0]
    assert second().codes() == [0] * after[0]
    assert_same_losses(workdir, on_one_device)
