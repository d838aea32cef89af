"""Evaluation on ImageNet: the same counts in every form, on any devices; extras agree."""

import csv
import json

import numpy as np
import pytest

from tests.conftest import json_from_8_devices
from tests.data.conftest import imagenet_tars as imagenet_tars
from tests.data.imagenet.conftest import forms as forms
from tests.weights import tiny_model
from zoo.cli import main
from zoo.data import limit, open_source
from zoo.data.imagenet import prepare_imagenet
from zoo.data.imagenet.labels import subset_labels, val_labels, wnids
from zoo.evaluation import evaluate
from zoo.pretrained import write_pretrained

CODE = """
import jax, json, sys
from tests.weights import tiny_model
from zoo.data.imagenet.labels import wnids
from zoo.evaluation import evaluate
model = tiny_model(classes=wnids())
results = [
    evaluate(model, "imagenet2012", split="val", data_dir=folder, batch_size=12,
             devices=jax.devices()[:count])
    for folder, count in ((sys.argv[1], 1), (sys.argv[2], 2), (sys.argv[1], 8))
]
print(json.dumps([[r.correct1, r.correct5, r.real_correct, r.real_n, r.n] for r in results]))
"""


def test_counts_are_the_same_in_every_form_and_on_1_2_and_8_devices(forms, tmp_path):
    prepare_imagenet(forms["tars"], tmp_path / "packed", splits=("val",), shard_examples=15)
    results = json_from_8_devices(CODE, forms["tars"], tmp_path / "packed")
    assert [result[4] for result in results] == [40] * 3
    assert results.count(results[0]) == 3


def test_the_command_writes_row_classes_and_logits(forms, tmp_path, capsys):
    model = tiny_model(classes=wnids())
    write_pretrained(
        tmp_path / "vanilla_resnet18_he_relu.tiny",
        model,
        metrics={},
        recipe={"steps": 1},
        data_terms="noise",
    )
    files = {name: tmp_path / name for name in ("rows.csv", "classes.csv", "logits.npz")}
    command = [
        *("eval", f"dir:{tmp_path / 'vanilla_resnet18_he_relu.tiny'}", "--json"),
        *("--data", "imagenet2012", "--data-dir", str(forms["flat"]), "--split", "val"),
        *("--csv", str(files["rows.csv"]), "--per-class", str(files["classes.csv"])),
        *("--logits", str(files["logits.npz"])),
    ]
    assert main(command) == 0 == main(command)
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    saved = np.load(files["logits.npz"])
    numbers = [int(name[15:23]) for name in saved["name"]]
    assert np.array_equal(saved["label"], val_labels()[np.asarray(numbers) - 1])
    assert saved["logits"].shape == (40, 1000) and saved["classes"].tolist() == list(wnids())
    assert np.sum(saved["logits"].argmax(1) == saved["label"]) == value["correct1"]
    exponentials = np.exp(saved["logits"].astype(np.float64))
    confidence = exponentials.max(1) / exponentials.sum(1)
    assert saved["confidence"] == pytest.approx(confidence, rel=1e-5)  # float32
    rows = list(csv.DictReader(files["rows.csv"].read_text().splitlines()))
    assert len(rows) == 2 and float(rows[0]["top1"]) == value["top1"]
    assert rows[0]["decoder"] == "pillow" and "jax=" in rows[0]["versions"]
    classes = list(csv.DictReader(files["classes.csv"].read_text().splitlines()))
    assert sum(int(row["n"]) for row in classes) == 40 and len(classes) == 1000


def test_real_labels_are_counted_where_known(forms, imagenet_tars):
    model = tiny_model(classes=wnids())
    source = open_source("imagenet2012", "val", data_dir=str(forms["folders"]))
    result = evaluate(model, source)
    predicted = result.answers.predicted
    valid = source.real
    assert result.real_n == sum(bool(labels) for labels in valid)
    assert result.real_correct == sum(p in v for p, v in zip(predicted, valid, strict=True))
    part = evaluate(model, limit(source, 10))
    assert part.real_n <= 10 and part.n == 10
    # Made-up numbers have no ReaL labels.
    own = evaluate(model, "imagenet2012", split="val", data_dir=str(imagenet_tars))
    assert own.real_n is None and "real_top1" not in own.to_json()


def test_answers_to_a_subset_are_chosen_from_its_classes(forms, tmp_path):
    source = open_source("imagenet2012", "val", data_dir=str(forms["folders"]))
    allowed = subset_labels("imagenet-a")
    chosen = [k for k, label in enumerate(source.labels) if label in allowed]
    for k in chosen:
        folder = tmp_path / "imagenet-a" / wnids()[source.labels[k]]
        folder.mkdir(parents=True)
        (folder / f"{k}.jpg").write_bytes(source.encoded(k))
    model = tiny_model(classes=wnids())
    result = evaluate(model, "imagenet-a", data_dir=str(tmp_path), keep_logits=True)
    plain = evaluate(model, source, keep_logits=True).answers.logits[chosen]
    own = source.labels[chosen]
    assert result.n == len(chosen) and np.array_equal(result.answers.label, own)
    masked = np.full_like(plain, -np.inf)
    masked[:, allowed] = plain[:, allowed]
    assert np.array_equal(result.answers.predicted, masked.argmax(1))
    losses = np.log(np.exp(masked.astype(np.float64)).sum(1)) - plain[np.arange(len(own)), own]
    assert result.loss == pytest.approx(losses.mean(), rel=1e-5)  # float32
    limited = evaluate(model, limit(open_source("imagenet-a", "test", data_dir=tmp_path), 1))
    assert limited.answers.predicted[0] == result.answers.predicted[0]
