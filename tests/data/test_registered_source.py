"""A data set registered by name is opened, trained on, evaluated and held out like any other."""

import json

import numpy as np
import pytest

import zoo
from zoo.cli import main
from zoo.data import address, sources
from zoo.data.records import ArraySource

CONFIG = """
import dataclasses
import zoo
from tests.data.test_registered_source import open_stripes
from zoo.data import Preprocessing
from tests.training.tiny import BASE

zoo.register_source("stripes", open_stripes)

def get_config():
    data = dataclasses.replace(BASE.data, name="stripes", data_dir="somewhere")
    grey = Preprocessing((8, 8), channels=1, mean=(0.5,), std=(0.3,))
    return dataclasses.replace(BASE, data=data, preprocessing=grey, steps=5)
"""


def open_stripes(split, data_dir):
    """Images of 8 x 8 whose rows or whose columns are alike: two classes, learnt in a few steps."""
    if split == "val":
        raise ValueError("stripes has no split 'val'; it has train and test")
    generator = np.random.default_rng({"train": 0, "test": 1}[split])
    line = generator.integers(0, 256, (200, 8, 1, 1), np.uint8)
    labels = generator.integers(0, 2, 200)
    rows, columns = np.broadcast_to(line, (200, 8, 8, 1)), line.swapaxes(1, 2)
    images = np.where(labels[:, None, None, None] == 0, rows, np.broadcast_to(columns, rows.shape))
    classes = ("rows", "columns")
    return ArraySource(f"stripes of {data_dir}", split, classes, images, labels)


@pytest.fixture(autouse=True)
def no_name_is_left(monkeypatch):
    monkeypatch.setattr(address, "_added", [])
    monkeypatch.setattr(sources, "_OPENERS", dict(sources._OPENERS))


def test_opened_by_its_name_with_the_folder_and_held_out_of():
    zoo.register_source("stripes", open_stripes)
    test = zoo.open_source("stripes", "test", data_dir="here")
    assert (test.name, test.split, len(test)) == ("stripes of here", "test", 200)
    parts = [len(zoo.open_source("stripes", part)) for part in ("holdout", "remainder")]
    assert sum(parts) == 200 and min(parts) > 0
    with pytest.raises(ValueError, match="it has train and test"):
        zoo.open_source("stripes", "val")


def test_a_run_and_its_evaluation_take_it_by_name(tmp_path, capsys):
    (tmp_path / "config.py").write_text(CONFIG)
    run = str(tmp_path / "run")
    assert main(["train", str(tmp_path / "config.py"), "--workdir", run]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["data"]["name"] == "stripes"
    capsys.readouterr()
    assert main(["eval", run, "--data", "stripes", "--data-dir", "elsewhere", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 200


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("digits", "the name 'digits' of a data set is taken"),
        ("Stars", "allowed: lower-case letters"),
        ("folder:x", "allowed: lower-case letters"),
        ("", "allowed: lower-case letters"),
    ],
)
def test_a_name_that_means_something_else_is_refused(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        zoo.register_source(name, open_stripes)


def test_a_misspelt_name_is_answered_with_the_registered_one():
    zoo.register_source("stripes", open_stripes)
    with pytest.raises(ValueError, match="nearest: stripes"):
        zoo.open_source("strips", "train")
