"""`zoo bench`: real programs on the smallest cases."""

import csv
import json

import pytest

from zoo.bench.catalogue import COLUMNS
from zoo.cli import main


def test_a_solution_is_timed_and_a_peer_that_is_not_named_is_missing(tmp_path, capsys):
    out = tmp_path / "found.json"
    words = ["--only", "solution of TAT for leaky", "--rounds", "1", "--out", str(out), "--json"]
    assert main(["bench", *words]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    (row,) = printed["rows"]
    assert 0 < row["sides"]["zoo"]["seconds"] < 10
    assert row["sides"]["dks"] == {"missing": "no --dks"}
    assert printed["cores"] >= 1 and printed["versions"]["jax"]


@pytest.mark.slow
def test_models_are_measured_each_alone_into_a_table(tmp_path, capsys):
    path = tmp_path / "speed.csv"
    words = ["--models", "vanilla_resnet18_tat_lrelu", "--image-size", "32", "--batch", "2"]
    assert main(["bench", *words, "--rounds", "1", "--csv", str(path)]) == 0
    with path.open() as file:
        (row,) = csv.DictReader(file)
    assert list(row) == list(COLUMNS)
    # 11.7 million, and one bias for each of the convolutions' channels.
    assert 11e6 < int(row["parameters"]) < 12e6
    assert float(row["infer_images_per_second"]) > float(row["train_images_per_second"]) > 0
    assert int(row["train_memory_bytes"]) > 8 * int(row["parameters"])
    assert "vanilla_resnet18_tat_lrelu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "nothing like it"], "is in no name; they are: product of"),
        (["--models", "alexnet"], "no network matches 'alexnet'"),
        (["--pytorch", "/no/python"], "--pytorch /no/python is no file"),
        (["--rounds", "0"], "--rounds 0; give a whole number above 0"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, capsys):
    assert main(["bench", *words]) == 2
    assert sentence in capsys.readouterr().err
