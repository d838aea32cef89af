"""`zoo compare`: who is compared, at which learning rate, and what the table says of it."""

import dataclasses
import json
import math
import re
import statistics

import numpy as np
import pytest

from tests.evidence_rows import lowest_loss
from zoo.cli import main
from zoo.evaluation.measures import wilson_interval
from zoo.recipes import load_recipe
from zoo.study import RATES, Estimate, compare, find_sweep
from zoo.study.page import render
from zoo.study.results import RESULT
from zoo.study.table import cells, make_row
from zoo.training.folder import CONFIG, ENVIRONMENT, METRICS

ARCHS = ("vanilla_resnet50_tat_lrelu", "resnet50")
CONFIGS = {arch: dataclasses.replace(load_recipe("digits", arch), steps=400) for arch in ARCHS}
_ENVIRONMENT = {
    "devices": {"count": 1, "kind": "cpu"}, "cpus": 2, "commit": "1" * 40,
    "versions": {"jax": "1"},
}  # fmt: skip


def finish(folder, run, losses, correct=100, failed_at=None, data_dir=None):
    """Leaves in `folder` what training `run` would, with chosen numbers."""
    where = folder / run.name
    where.mkdir(parents=True)
    data = dataclasses.replace(run.config.data, data_dir=data_dir)
    config = dataclasses.replace(run.config, data=data).to_json()
    (where / CONFIG).write_text(json.dumps(config))
    (where / ENVIRONMENT).write_text(json.dumps(_ENVIRONMENT))
    log = [
        {"step": 100 * (i + 1), "loss": loss, "images_per_second": speed}
        for i, (loss, speed) in enumerate(zip(losses, (10, 640, 320, 1280), strict=False))
    ]
    (where / METRICS).write_text("".join(json.dumps(line) + "\n" for line in log))
    if failed_at is not None:
        failure = {"step": failed_at, "reason": f"step {failed_at} is not finite"}
        (where / "failed.json").write_text(json.dumps(failure))
        return
    metrics = {
        "top1": correct / 200, "top5": 1.0, "loss": 1.0, "n": 200, "split": "test",
        "top1_interval": list(wilson_interval(correct, 200)), "most_frequent": 20,
    }  # fmt: skip
    result = {
        "step": 400, "metrics": metrics, "classes": 10, "training_seconds": 1.0,
        "memory_bytes": 3_000_000 + correct,
    }  # fmt: skip
    (where / RESULT).write_text(json.dumps(result))


def test_rates_are_chosen_by_the_training_loss_of_trials_alone(tmp_path):
    study = compare(CONFIGS, rates=(0.1, 0.03, 0.01), seeds=(5, 6))
    assert len(study.trials) == 6 and study.runs(tmp_path) == ()
    assert {run.config.steps for run in study.trials} == {200}
    assert {run.config.seed for run in study.trials} == {5}
    ends = {0.1: 0.9, 0.03: 0.7, 0.01: 0.8}
    for run in study.trials[:3]:
        rate = run.config.optimizer.learning_rate
        # The trial that is best on the test images has the highest training loss.
        finish(tmp_path, run, (2.3, ends[rate], ends[rate]), correct=int(200 * ends[rate]))
    ours, theirs = study.lines(tmp_path)
    assert (ours.rate, ours.at_edge) == (0.03, False)
    assert theirs.rate is None and theirs.runs == ()
    assert [run.config.seed for run in study.runs(tmp_path)] == [5, 6]
    for run in study.trials[3:]:
        finish(tmp_path, run, (2.3, 2.3026, 2.31))
    theirs = study.lines(tmp_path)[1]
    assert (theirs.rate, theirs.at_edge) == (0.01, True)  # none trains: the safest
    runs = study.runs(tmp_path)
    assert [run.config.seed for run in runs] == [5, 5, 6, 6]
    assert len({run.name for run in runs}) == 4


def test_a_failed_trial_chooses_nothing(tmp_path):
    study = compare({ARCHS[0]: CONFIGS[ARCHS[0]]}, rates=(0.3, 0.1, 0.03))
    best, middle, low = study.trials
    finish(tmp_path, best, (0.1,), failed_at=7)
    finish(tmp_path, middle, (2.0, 1.0))
    finish(tmp_path, low, (2.0, 1.5))
    (line,) = study.lines(tmp_path)
    assert (line.rate, line.at_edge) == (0.1, False)


def test_batches_and_steps_are_the_same_for_all():
    study = compare(CONFIGS, optimizers=("sgd", "kfac"), rates=(0.1,))
    runs = [each.run(0.1, 0).config for each in study.contenders]
    assert [(r.model.arch, r.optimizer.name) for r in runs] == [
        (arch, name) for arch in ARCHS for name in ("sgd", "kfac")
    ]
    what_decides_batches = {(r.steps, r.data, r.augmentation, r.seed) for r in runs}
    assert len(what_decides_batches) == 1


def test_the_recipe_knows_its_own_rate_and_other_optimizers_are_searched():
    sgd, adamw = compare({ARCHS[1]: CONFIGS[ARCHS[1]]}, optimizers=("sgd", "adamw")).contenders
    assert sgd.rates == (0.3,) and sgd.trials(0) == ()
    assert adamw.rates == RATES["adamw"] and len(adamw.trials(0)) == 3
    assert adamw.config.optimizer.clip_norm is None  # as the network wants it


@pytest.fixture
def shown(tmp_path):
    """Of three seeds one network has two finished and a failed run, the other one of three."""
    study = compare(CONFIGS)
    ours, theirs = (each.runs for each in study.lines(tmp_path))
    finish(tmp_path, ours[0], (2.3, 1.5, 0.6, 0.5), correct=180, data_dir="/data")
    finish(tmp_path, ours[1], (2.3, 1.5, 1.0, 0.6), correct=190)
    finish(tmp_path, ours[2], (2.3,), failed_at=150)
    finish(tmp_path, theirs[1], (2.3, 2.3, 2.3, 2.3), correct=20)
    lines = study.lines(tmp_path)
    return lines, [make_row(line, tmp_path) for line in lines]


def test_the_table_has_means_over_finished_runs_and_shows_what_is_missing(shown):
    ours, theirs = shown[1]
    assert ours.top1 == Estimate(92.5, pytest.approx(statistics.stdev([90, 95]) / 2**0.5), 2)
    target = 0.1 * math.log(10) + 0.9 * lowest_loss(0.1, 10)
    assert ours.target_loss == pytest.approx(target)
    assert target == pytest.approx(0.68, abs=0.01)
    assert (ours.steps, ours.reached) == (Estimate(350.0, 50.0, 2), 2)
    # The first window holds the compilation: 640, 320 and 1280 images of batch 64 a second.
    assert ours.step_ms == pytest.approx(1000 * 64 / 640)
    assert ours.memory_bytes == 3_000_190
    assert (ours.finished, ours.failed, ours.unfinished) == (2, 1, {})
    assert cells(ours)[3:] == [
        "92.50 ± 2.50", "2 of 3", "0.6750", "350 ± 50 (2 of 3)", "100.0", "3.0", "1 failed"
    ]  # fmt: skip
    assert list(theirs.unfinished.values()) == ["missing", "missing"]
    assert cells(theirs)[3:5] == ["10.00", "1 of 3"]
    assert cells(theirs)[6] == "- (0 of 1)"
    assert cells(theirs)[-1] == "2 missing, 1 at chance, counted"


def test_the_page_shows_table_curves_and_missing_runs(shown):
    text = render("digits", *shown)
    target = f"at most {shown[1][0].target_loss:.3f} nats"
    missing = "resnet50-sgd-0.3-0</td><td>missing"
    for words in ("92.50 ± 2.50", "training loss, nats", missing, "1 x cpu, 2 CPU cores", target):
        assert words in text, words
    assert not re.search(r"(src|href)=\"?http", text)


def test_runs_on_a_folder_are_found_again_wherever_it_is(tmp_path):
    config = CONFIGS[ARCHS[0]]
    data = dataclasses.replace(config.data, name="folder:/data/photos")
    study = compare({ARCHS[0]: dataclasses.replace(config, data=data)}, seeds=(0,))
    (run,) = study.runs(tmp_path)
    finish(tmp_path, run, (2.3, 1.0))
    moved = dataclasses.replace(data, name="folder:/elsewhere/photos")
    for where in (data, moved):
        again = compare({ARCHS[0]: dataclasses.replace(config, data=where)}, seeds=(0,))
        (result,) = again.lines(tmp_path)[0].results
        assert result.config["data"]["name"] == "folder:photos"


def test_a_named_sweep_has_a_line_per_network_and_rate(tmp_path):
    lines = find_sweep("digits_rates").lines(tmp_path)
    assert len(lines) == len(find_sweep("digits_rates").planned) == 28
    assert all(line.planned == 1 and not line.results for line in lines)
    digits = find_sweep("digits").lines(tmp_path)
    assert len(digits) == 16 and {line.planned for line in digits} == {3}


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0, 6.0]])
def test_an_estimate_is_the_sample_mean_and_its_standard_error(values):
    found = Estimate.of(values)
    assert found.mean == np.mean(values)
    if len(values) == 1:
        assert found.error is None and found.text() == "3.00"
    else:
        assert found.error == pytest.approx(np.std(values, ddof=1) / np.sqrt(len(values)))
        doubled = found.times(-2.0)
        assert (doubled.mean, doubled.error) == (-2 * found.mean, 2 * found.error)
        difference = found.minus(doubled)
        assert difference.error == pytest.approx(math.hypot(found.error, doubled.error))
    assert Estimate.of([]) is None


MISTAKES = {
    "nothing to compare": ([], "give --archs or --families, or else --sweep"),
    "both": (["--archs", "resnet18", "--sweep", "digits"], "or else --sweep"),
    "unknown sweep": (["--sweep", "digit"], "no sweep 'digit'; all: cifar10"),
    "unknown network": (["--archs", "resnet51"], "nearest: resnet50"),
    "no depths": (["--families", "resnet*"], "--families and --depths go together"),
    "no place for the depth": (["--families", "resnet", "--depths", "18"], "has no * for the"),
    "unknown optimizer": (["--archs", "resnet18", "--optimizers", "sdg"], "no optimizer 'sdg'"),
    "no recipe": (["--archs", "resnet18", "--data", "cifar100"], "no recipe is for --data"),
    "trials of no length": (
        ["--archs", "resnet18", "--recipe", "cifar10", "--learning-rates", "0.1", "0.2"],
        "give --trial-steps",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_sentence(capsys, tmp_path, case):
    options, match = MISTAKES[case]
    assert main(["compare", *options, "--workdir", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert match in line


def test_families_and_depths_are_networks_at_the_settings_asked_for(capsys, tmp_path):
    options = ["--families", "resnet*", "vanilla_resnet*_tat_lrelu", "--depths", "18", "34"]
    settings = ["--steps", "7", "--width", "0.0625", "--seeds", "3", "4", "--list", "--json"]
    workdir = ["--workdir", str(tmp_path)]
    assert main(["compare", *options, *settings, *workdir]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["arch"] for row in value["rows"]] == [
        "resnet18", "vanilla_resnet18_tat_lrelu", "resnet34", "vanilla_resnet34_tat_lrelu"
    ]  # fmt: skip
    assert list(value["rows"][0]["unfinished"]) == ["resnet18-sgd-0.3-3", "resnet18-sgd-0.3-4"]
    assert "missing" in (tmp_path / "index.html").read_text()
