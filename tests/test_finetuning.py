"""Fine-tuning keeps what was learned, replaces the head, and leaves a run that stands alone."""

import json

import numpy as np
import pytest

from tests.weights import ID, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.cli import main
from zoo.data import open_source, subset
from zoo.evaluation import evaluate
from zoo.finetuning import finetune
from zoo.models import create_model, split
from zoo.pretrained import load_pretrained

CLASSES = ("7", "3")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """The head of the tiny network, trained for ten steps on two digits."""
    workdir = tmp_path_factory.mktemp("runs") / "head"
    return finetune(
        tiny_model(), "digits", workdir=workdir, classes=CLASSES, train="head", steps=10,
        progress=False,
    )  # fmt: skip


def test_training_the_head_changes_nothing_else(tuned):
    before, after = split(tiny_model())[1], split(tuned.model)[1]
    assert tuned.new == ("head.bias", "head.kernel")
    assert all(np.array_equal(before[name], after[name]) for name in tuned.kept)
    assert after["head.kernel"].shape == (before["head.kernel"].shape[0], 2)
    assert np.any(np.asarray(after["head.bias"]) != 0)


def test_the_run_knows_its_classes_and_preprocessing(tuned):
    model = load_pretrained(tuned.workdir)
    assert (model.classes, model.preprocess) == (CLASSES, tiny_model().preprocess)
    ours, theirs = split(model)[1], split(tuned.model)[1]
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_the_run_repeats_its_own_accuracy(tuned):
    source = subset(open_source("digits", "test"), CLASSES)
    result = evaluate(tuned.workdir, source)
    assert result.n == tuned.metrics["n"] == len(source)
    assert result.top1 == tuned.metrics["top1"]


def test_a_finished_run_is_not_trained_again(tuned):
    again = finetune(
        tiny_model(), "digits", workdir=tuned.workdir, classes=CLASSES, train="head", steps=10,
        progress=False,
    )  # fmt: skip
    assert again.step == 10
    assert again.metrics["top1"] == tuned.metrics["top1"]


def test_the_command_trains_everything_and_eval_accepts_its_run(capsys, checkpoints, tmp_path):
    workdir = str(tmp_path / "run")
    command = ["finetune", ID, "--data", "digits", "--workdir", workdir, "--steps", "4"]
    assert main([*command, "--classes", "0", "1", "--json"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (value["step"], value["classes"]) == (4, ["0", "1"])
    before, after = split(tiny_model())[1], split(load_pretrained(workdir))[1]
    assert not np.array_equal(before["stem.kernel"], after["stem.kernel"])
    assert main(["eval", workdir, "--data", "digits", "--classes", "0", "1", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["top1"] == value["metrics"]["top1"]
    assert main(["info", workdir, "--json"]) == 0
    about = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (about["classes"], about["step"]) == (["0", "1"], 4)
    assert about["metrics"]["digits[0,1]"]["top1"] == measured["top1"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"train": "tail"}, "train='tail'; allowed: head, all"),
        ({"data": "digit"}, "nearest: digits"),
        ({"classes": ("x", "1")}, "no class 'x'"),
        ({"steps": 0}, "steps=0"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, change, match):
    arguments = {"model": tiny_model(), "data": "digits", "steps": 1, **change}
    with pytest.raises(ValueError, match=match):
        finetune(**arguments, workdir=tmp_path / "run", progress=False)


def test_a_network_no_configuration_can_name_is_refused(tmp_path):
    model = create_model(
        "vanilla_resnet18_eoc_relu", initializer="he_normal", activation=tiny_model().activation,
        abstract=True,
    )  # fmt: skip
    model.preprocess = tiny_model().preprocess
    with pytest.raises(ValueError, match="was built with initializer"):
        finetune(model, "digits", workdir=tmp_path / "run")
