"""The matrix of networks, and the tool that trains it piece by piece."""

import dataclasses
import json
import runpy

import numpy as np
import pytest

from tests.conftest import REPOSITORY, tool
from tests.training.tiny import BASE, digest, optimizer
from zoo.complexity import count_params
from zoo.models import create_model
from zoo.training import BudgetSpent, fit, read_metrics, validate
from zoo.training.signals import StopRequest

MATRIX = runpy.run_path(str(REPOSITORY / "configs" / "zoo_matrix.py"))
MATRICES = MATRIX["matrices"]()
ROW = MATRICES["smoke"][1]
TOOL = tool("train_zoo")


@pytest.mark.parametrize("name", MATRICES)
def test_every_row_can_run_under_a_name_of_its_own(name):
    rows = MATRICES[name]
    assert len({row.name for row in rows}) == len(rows)
    assert len({json.dumps(row.config.to_json()) for row in rows}) == len(rows)
    for row in rows:
        validate(row.config, device_count=1)


def test_rows_come_in_order_of_value():
    names = [row.name for row in MATRICES["cifar10"]]
    assert names[:3] == [
        "vanilla_resnet50_tat_lrelu-sgd-0", "vanilla_resnet50_tat_lrelu-muon-0", "resnet50-sgd-0"
    ]  # fmt: skip
    assert [row.name for row in MATRICES["tiny_imagenet"]] == names[:8]
    digits = {row.name for row in MATRICES["digits"]}
    assert len(digits) == 4 * 4 * 3
    assert {"resnet200-2", "vanilla_resnet152_dks_softplus-1"} < digits


@pytest.mark.parametrize("arch", ["vanilla_resnet200_tat_lrelu", "resnet200"])
def test_the_largest_networks_fit_into_nine_megabytes_of_bfloat16(arch):
    model = MATRICES["cifar10"][0].config.model
    built = create_model(arch, stem="cifar", width=model.width, num_classes=10, abstract=True)
    assert 2 * count_params(built) <= 9e6


def test_three_budgets_end_as_one_bit_for_bit(tmp_path, monkeypatch, capsys):
    """Also: the list says where every row stands, and a trained row is left alone."""
    monkeypatch.setattr(TOOL.runpy, "run_path", lambda _: {"matrices": lambda: {"cifar10": [ROW]}})
    workdir = ["--workdir", str(tmp_path), "--json"]

    def listed():
        assert TOOL.main(["--list", *workdir]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])[0]

    assert listed()["state"] == "missing"
    for step in (1, 2):  # compilation alone takes longer, and one step is always made
        assert TOOL.main(["--budget", "0.2", *workdir]) == 75
        assert [listed()[key] for key in ("state", "step", "total_steps")] == [
            "unfinished", step, ROW.config.steps
        ]  # fmt: skip
        lines = read_metrics(tmp_path / "cifar10" / ROW.name)
        speed = np.median([line["images_per_second"] for line in lines])
        remaining = (ROW.config.steps - step) * ROW.config.data.batch_size
        assert listed()["seconds_left"] == pytest.approx(remaining / speed, abs=0.1)
    assert TOOL.main(["--budget", "3600", *workdir]) == 0
    trained = listed()
    assert trained["state"] == "trained" and trained["metrics"]["n"] == 360
    assert TOOL.main(["--budget", "0", *workdir]) == 0

    folder = tmp_path / "cifar10" / ROW.name
    answers = np.load(folder / "logits.npz")
    correct = int((answers["logits"].argmax(1) == answers["labels"]).sum())
    assert correct == round(trained["metrics"]["top1"] * 360)
    unsplit = fit(ROW.config, tmp_path / "unsplit", progress=False)
    split = fit(ROW.config, folder, progress=False)
    assert digest(split.state) == digest(unsplit.state)
    assert split.metrics == unsplit.metrics == trained["metrics"]


def test_a_row_that_diverges_does_not_stop_those_after_it(tmp_path):
    wild = dataclasses.replace(BASE, optimizer=optimizer(learning_rate=1e9))
    fine = dataclasses.replace(BASE, steps=2)
    rows = tuple(MATRIX["Row"](name, config) for name, config in (("wild", wild), ("fine", fine)))
    assert TOOL.train(rows, tmp_path, 3600, None) == 0
    wild, fine = (TOOL.state_of(tmp_path / row.name) for row in rows)
    assert fine["state"] == "trained"
    assert "failed at step" in TOOL.sentence(wild) and "is not finite" in wild["reason"]


def test_missing_data_is_one_sentence(tmp_path, capsys):
    code = TOOL.main(
        ["--matrix", "tiny_imagenet", "--budget", "1m", "--data-dir", str(tmp_path / "nothing"),
         "--workdir", str(tmp_path)]
    )  # fmt: skip
    assert code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("train_zoo: ")


def test_a_spent_budget_asks_to_stop_as_long_as_steps_are_left():
    with StopRequest() as stop:
        number = stop.received(7, late=True)
        error = stop.error(number, 7)
        assert stop.received(7) is None
    assert isinstance(error, BudgetSpent) and error.exit_code == 75 and error.step == 7
    assert "step 7 is saved" in str(error)
