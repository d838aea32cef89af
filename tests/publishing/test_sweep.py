"""A sweep becomes evidence and weights: measured now, once, from committed code."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.training.tiny import BASE, optimizer
from zoo.cli import main
from zoo.evaluation import evaluate
from zoo.pretrained import list_pretrained, load_pretrained, read_manifest, write_pretrained
from zoo.publishing import publish_sweep
from zoo.publishing.evidence import Origin
from zoo.publishing.measuring import open_split
from zoo.recipes.sweeps import SweepRun
from zoo.study import read_evidence, state_of, train
from zoo.training import CheckpointConfig, EvalConfig, LogConfig, TrainConfig

COMMIT = "0" * 40
ARCH = BASE.model.arch


RECIPE = dataclasses.replace(
    BASE,
    steps=120,
    eval=EvalConfig(limit=100),
    checkpoint=CheckpointConfig(every_steps=0),
    log=LogConfig(every_steps=20),
)
GOOD = SweepRun(f"{ARCH}-0", RECIPE)
WILD = SweepRun("wild-1", dataclasses.replace(BASE, seed=1, optimizer=optimizer(learning_rate=1e9)))
RUNS = (GOOD, WILD)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One run that learns and what is left of one that became non-finite."""
    folder = tmp_path_factory.mktemp("runs")
    train((GOOD,), folder / "digits")
    good, wild = (folder / "digits" / row.name for row in RUNS)
    environment = json.loads((good / "env.json").read_text())
    assert environment["commit"] is None or len(environment["commit"].partition("-")[0]) == 40
    environment |= {"commit": COMMIT, "command": _COMMAND}
    wild.mkdir()
    (wild / "config.json").write_text(json.dumps(WILD.config.to_json()))
    (wild / "metrics.jsonl").write_text('{"step": 1, "loss": 2.3}\n')
    (wild / "failed.json").write_text('{"step": 1, "reason": "step 1 is not finite"}')
    for run in (good, wild):
        (run / "env.json").write_text(json.dumps(environment))
    return folder


_COMMAND = ["/somewhere/bin/zoo", "compare", "--workdir", "/somewhere/runs", "--budget", "9m"]


@pytest.fixture
def publish(runs, tmp_path, monkeypatch):
    """Publishes the two runs; gives what became of them and the folder of weights."""
    checkpoints = tmp_path / "checkpoints"
    monkeypatch.setenv("ZOO_CHECKPOINTS", str(checkpoints))

    def act(rows=RUNS, workdir=runs, **options):
        origin = Origin("digits", workdir / "digits", None, COMMIT)
        return publish_sweep(rows, origin, checkpoints, **options), checkpoints

    return act


def test_rows_become_evidence_and_the_good_one_a_weight(publish, runs, monkeypatch):
    done, checkpoints = publish()
    assert [row.evidence for row in done] == ["evidence written"] * 2
    assert list_pretrained() == [f"{ARCH}.digits"]
    good, wild = read_evidence(checkpoints)
    assert (good.metrics["n"], good.metrics["commit"]) == (100, COMMIT)
    trained = state_of(runs / "digits" / GOOD.name).metrics
    assert good.metrics["correct1"] == round(100 * trained["top1"])
    assert wild.failed and wild.metrics is None and "is not finite" in wild.values["failure"]
    command = "zoo compare --workdir runs --budget 9m"
    assert good.values["environment"]["command"] == command

    model = load_pretrained(f"{ARCH}.digits")
    config = model.manifest.recipe["config"]
    (measured,) = model.manifest.metrics.values()
    again = evaluate(model, open_split(config))
    assert (again.correct1, again.correct5) == (measured["correct1"], measured["correct5"])
    card = (checkpoints / f"{ARCH}.digits" / "card.md").read_text()
    assert "`resnet18`, is not trained yet: no comparison" in card

    # Again: nothing is measured or written.
    monkeypatch.setattr("zoo.publishing.measuring.evaluate", None)
    before = {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*.*") if path.is_file()}
    again, _ = publish()
    assert [row.evidence for row in again] == ["evidence present"] * 2
    assert again[0].weight == f"{ARCH}.digits present" and again[1].weight == "no weight"
    del before[checkpoints / "index.json"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_large_weights_are_stored_and_measured_in_bfloat16(publish, monkeypatch):
    monkeypatch.setattr("zoo.publishing.sweep._FLOAT32_BYTES", 0)
    _, checkpoints = publish((GOOD,))
    model = load_pretrained(f"{ARCH}.digits")
    assert model.manifest.recipe["stored_as"] == "bfloat16"
    params = model.split()[1]
    assert all(value.dtype == np.float32 for value in params.values())
    bits = [np.asarray(value).view(np.uint32) & 0xFFFF for value in params.values()]
    assert not any(low.any() for low in bits)
    (measured,) = model.manifest.metrics.values()
    again = evaluate(model, open_split(model.manifest.recipe["config"]))
    assert (again.correct1, again.loss) == (measured["correct1"], measured["loss"])


def test_a_card_follows_the_evidence(publish):
    _, checkpoints = publish((GOOD,))
    folder = checkpoints / f"{ARCH}.digits"
    old, digest = (folder / "card.md").read_text(), read_manifest(folder).files["card.md"]
    publish()
    assert "0 failed" not in old and read_manifest(folder).files["card.md"] != digest
    assert "1 failed (not in the mean)" in (folder / "card.md").read_text()
    assert load_pretrained(f"{ARCH}.digits").manifest is not None


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"commit": None}, "names no commit; give --training-commit"),
        ({"commit": f"{COMMIT}-dirty"}, "was trained by code with changes"),
    ],
)
def test_code_that_is_not_committed_makes_no_evidence(publish, runs, change, match):
    path = runs / "digits" / GOOD.name / "env.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | change))
    try:
        done, checkpoints = publish((GOOD,))
    finally:
        path.write_text(text)
    assert match in done[0].refused and done[0].weight == "no weight"
    assert not (checkpoints / "evidence").exists()


def test_a_run_of_another_configuration_is_refused(publish):
    config = dataclasses.replace(GOOD.config, optimizer=optimizer(learning_rate=0.01))
    done, _ = publish((SweepRun(GOOD.name, config),))
    assert "optimizer.learning_rate: 0.05 -> 0.01" in done[0].refused


def test_other_evidence_and_other_weights_stay_unless_told(publish):
    _, checkpoints = publish((GOOD,))
    log = checkpoints / "evidence" / "digits" / GOOD.name / "result.json"
    values = json.loads(log.read_text())
    values["files"]["log.jsonl"]["sha256"] = "0" * 64
    text = log.read_text()
    log.write_text(json.dumps(values))
    assert "holds evidence of another run" in publish((GOOD,))[0][0].refused
    log.write_text(text)
    folder = checkpoints / f"{ARCH}.digits"
    other = load_pretrained(f"{ARCH}.digits")
    params = other.split()[1]
    changed = other.with_params({name: 2 * value for name, value in params.items()})
    manifest = other.manifest
    shutil.rmtree(folder)
    write_pretrained(
        folder, changed, metrics=manifest.metrics, recipe={}, data_terms="none", card=lambda m: ""
    )
    refused = publish((GOOD,))[0][0]
    assert "published with other weights" in refused.refused
    assert publish((GOOD,), replace=[folder.name])[0][0].weight == f"{folder.name} written"
    assert np.array_equal(load_pretrained(folder.name).split()[1]["head.bias"], params["head.bias"])


def test_missing_rows_are_only_listed(publish, tmp_path):
    assert [row.run for row in publish(pattern="wild*")[0]] == [WILD.name]
    done, _ = publish((GOOD,), workdir=tmp_path / "nothing")
    assert done[0].evidence == "no evidence: missing" and list_pretrained() == []


def test_a_tree_with_changes_is_one_sentence(monkeypatch, capsys, tmp_path):
    def refuse():
        raise ValueError("the working tree has changes, commit them first: x")

    monkeypatch.setattr("zoo.publishing.origins.code_version", refuse)
    command = ["publish", str(tmp_path), "--sweep", "digits", "--checkpoints", str(tmp_path)]
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("zoo: the working tree has changes")


def test_runs_of_the_older_form_are_read():
    values = GOOD.config.to_json()
    values["model"]["remat"] = False
    assert TrainConfig.from_json(values) == GOOD.config
