"""What is typed wrongly is refused in one clean line, and advice names options that are there."""

import os
import subprocess
import sys

import jax
import pytest

from tests.conftest import REPOSITORY
from zoo.cli import main
from zoo.cli.commands import Eval, Finetune, train_command
from zoo.cli.usage import in_options, options_of
from zoo.recipes import load_recipe
from zoo.training import TrainConfig
from zoo.training.diagnosis import memory_advice

# What is typed wrongly -> the sentence, whole.
SENTENCES = {
    "lst": "unknown command 'lst'; nearest: list; all: zoo --help",
    "fine-tune x": "unknown command 'fine-tune'; nearest: finetune; all: zoo --help",
    "data chek x": "unknown command 'data chek'; nearest: check; all: zoo data --help",
    "data": "zoo data needs one of: prepare, check; see: zoo data --help",
    "data check": "zoo data needs data; see: zoo data --help",
    "cache clear": "action 'clear'; allowed: path, list, verify, rm",
    "export x --format zip": "--format 'zip'; allowed: safetensors, huggingface, torch",
    "export x --format torhc": "--format 'torhc'; nearest: torch; allowed: safetensors,",
    "eval x": "zoo eval needs --data; see: zoo eval --help",
    "eval x --data": "--data needs a value; see: zoo eval --help",
    "eval x --data digits --batchsize 3": "unknown option '--batchsize'; nearest: --batch-size;",
    "eval x --data digits --batch-size x": "--batch-size 'x' is no whole number; see: zoo eval --h",
    "finetune x --data y --workdir w --layer-decay z": "--layer-decay 'z' is no number; see:",
    "list a b": "zoo list takes no further 'b'; see: zoo list --help",
    "train --recipe digits --workdir w --optimizer.lr 1": (
        "unknown option '--optimizer.lr'; nearest: --optimizer.learning-rate; all: zoo train --help"
    ),
    "finetune x --data folder:/nowhere --workdir w": "/nowhere is not a folder; give folder:PATH",
    "finetune x --data digts --workdir w": "unknown data set 'digts'; nearest: digits, tfds:;",
    "eval x --data folder:/nowhere": "/nowhere is not a folder; give folder:PATH",
    "predict x": "zoo predict needs image files, or a folder of them, behind the model",
    "predict x /nowhere.png": "/nowhere.png: there is no such file; give image files or folders",
}


@pytest.mark.parametrize("typed", SENTENCES)
@pytest.mark.parametrize("coloured", [False, True])
def test_a_usage_error_is_a_clean_sentence_with_a_suggestion(capsys, monkeypatch, typed, coloured):
    if coloured:
        monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(typed.split()) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"zoo: {SENTENCES[typed]}") and told.count("\n") == 1
    assert not {"\x1b", "╭", "│"} & set(told) and "  " not in told


def test_every_option_can_be_suggested():
    """The options that are suggested are those that the help shows."""
    shown = subprocess.run(
        [sys.executable, "-m", "zoo", "train", "--recipe", "digits", "--help"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=True,
        env=os.environ | {"COLUMNS": "200"},
    ).stdout  # fmt: skip
    command = train_command(TrainConfig, load_recipe("digits"))
    options = {name for name in options_of(command) if not name.startswith("--preprocessing")}
    assert {"--data.batch-size", "--model.remat", "--optimizer.kfac.damping"} <= options
    assert "--batch-size" not in options
    assert all(name in shown for name in options)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Finetune, "--accumulate-steps 2 or --dtype bfloat16 or --batch-size 32"),
        (Eval, "--batch-size 32"),
    ],
)
def test_advice_on_memory_names_options_that_the_command_has(kind, expected):
    changes = {
        "optimizer.accumulate_steps": "2", "model.remat": "blocks", "model.dtype": "bfloat16",
        "data.batch_size": "32",
    }  # fmt: skip
    assert in_options(changes, kind) == expected
    command = train_command(TrainConfig, load_recipe("digits"))
    told = in_options(changes, command)
    assert told.split(" or ") == [
        "--optimizer.accumulate-steps 2", "--model.remat blocks", "--model.dtype bfloat16",
        "--data.batch-size 32",
    ]  # fmt: skip


def test_a_run_without_memory_is_told_in_options(capsys, monkeypatch):
    def fit(*arguments, **options):
        with memory_advice(load_recipe("digits")):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr("zoo.training.fit", fit)
    assert main(["train", "--recipe", "digits", "--workdir", "w"]) == 1
    told = capsys.readouterr().err
    assert "; try --optimizer.accumulate-steps 2 or --model.remat blocks or" in told
