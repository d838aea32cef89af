"""Sweeps, and how they are trained piece by piece."""

import dataclasses
import json

import numpy as np
import pytest

from tests.training.tiny import BASE, digest, optimizer
from zoo.cli import main
from zoo.complexity import count_params
from zoo.models import create_model
from zoo.recipes.sweeps import SweepRun, sweeps
from zoo.study import state_of, train
from zoo.study.state import result_of
from zoo.training import BudgetSpent, ResumeError, fit, read_metrics, validate
from zoo.training.signals import StopRequest

SWEEPS = sweeps()
RUN = SWEEPS["smoke"][1]


@pytest.mark.parametrize("name", SWEEPS)
def test_every_run_can_run_under_a_name_of_its_own(name):
    runs = SWEEPS[name]
    assert len({run.name for run in runs}) == len(runs)
    assert len({json.dumps(run.config.to_json()) for run in runs}) == len(runs)
    for run in runs:
        validate(run.config, device_count=1)


def test_runs_come_in_order_of_value():
    names = [run.name for run in SWEEPS["cifar10"]]
    assert names[:3] == [
        "vanilla_resnet50_tat_lrelu-sgd-0", "vanilla_resnet50_tat_lrelu-muon-0", "resnet50-sgd-0"
    ]  # fmt: skip
    assert [run.name for run in SWEEPS["tiny_imagenet"]] == names[:8]
    digits = {run.name for run in SWEEPS["digits"]}
    assert len(digits) == 4 * 4 * 3
    assert {"resnet200-2", "vanilla_resnet152_dks_softplus-1"} < digits


@pytest.mark.parametrize("arch", ["vanilla_resnet200_tat_lrelu", "resnet200"])
def test_the_largest_networks_fit_into_nine_megabytes_of_bfloat16(arch):
    model = SWEEPS["cifar10"][0].config.model
    built = create_model(arch, stem="cifar", width=model.width, num_classes=10, abstract=True)
    assert 2 * count_params(built) <= 9e6


def test_three_budgets_end_as_one_bit_for_bit(tmp_path, monkeypatch, capsys):
    """Also: the list says where every run stands, and a trained run is left alone."""
    monkeypatch.setattr("zoo.study.comparison.sweeps", lambda: {"one": (RUN,)})
    command = ["compare", "--sweep", "one", "--workdir", str(tmp_path), "--json"]

    def row(*options, code=0):
        assert main([*command, *options]) == code
        (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
        return found

    assert row("--list")["unfinished"] == {RUN.name: "missing"}
    for step in (1, 2):  # compilation alone takes longer, and one step is always made
        told = row("--budget", "0.2", code=75)["unfinished"][RUN.name]
        assert told.startswith(f"unfinished at step {step} of {RUN.config.steps}, about ")
        state = state_of(tmp_path / RUN.name)
        speed = np.median([x["images_per_second"] for x in read_metrics(tmp_path / RUN.name)])
        remaining = (RUN.config.steps - step) * RUN.config.data.batch_size
        assert state.seconds_left == pytest.approx(remaining / speed, abs=0.1)
    trained = row()
    assert (trained["finished"], trained["unfinished"], trained["planned"]) == (1, {}, 1)
    assert row("--budget", "0")["top1"] == trained["top1"]

    unsplit = fit(RUN.config, tmp_path / "unsplit", progress=False)
    split = fit(RUN.config, tmp_path / RUN.name, progress=False)
    assert digest(split.state) == digest(unsplit.state)
    assert 100 * split.metrics["top1"] == trained["top1"]["mean"]
    # The state alone is this large: parameters, averages and momentum.
    state = sum(np.asarray(leaf).nbytes for leaf in split.state.params.values())
    assert 2 * state < trained["memory_bytes"] < 100e6


def test_a_run_that_diverges_does_not_stop_those_after_it(tmp_path):
    """Also: of data with some classes only those are counted."""
    data = dataclasses.replace(BASE.data, classes=("8", "4"))
    whole = dataclasses.replace(BASE.eval, limit=None)
    wild = dataclasses.replace(BASE, optimizer=optimizer(learning_rate=1e9))
    fine = dataclasses.replace(BASE, steps=2, data=data, eval=whole)
    runs = tuple(SweepRun(name, config) for name, config in (("wild", wild), ("fine", fine)))
    train(runs, tmp_path)
    wild, fine = (state_of(tmp_path / run.name) for run in runs)
    assert wild.state == "failed" and "is not finite" in wild.reason
    assert "failed at step" in wild.text()
    assert result_of(tmp_path / "wild", "mine", runs[0]).failed
    assert fine.state == "trained" and fine.metrics["n"] == 35 + 37
    result = result_of(tmp_path / "fine", "mine", runs[1])
    assert result.metrics["most_frequent"] == 37
    assert result.target_loss(0) == pytest.approx(np.log(2))
    other = SweepRun("fine", dataclasses.replace(runs[1].config, seed=3))
    with pytest.raises(ResumeError, match="seed: 0 -> 3"):
        train((other,), tmp_path)


def test_missing_data_is_one_sentence(tmp_path, capsys):
    where = ["--data-dir", str(tmp_path / "nothing"), "--workdir", str(tmp_path)]
    assert main(["compare", "--sweep", "tiny_imagenet", "--budget", "1m", *where]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("zoo: ")


def test_a_spent_budget_asks_to_stop_as_long_as_steps_are_left():
    with StopRequest() as stop:
        number = stop.received(7, late=True)
        error = stop.error(number, 7)
        assert stop.received(7) is None
    assert isinstance(error, BudgetSpent) and error.exit_code == 75 and error.step == 7
    assert "step 7 is saved" in str(error)
