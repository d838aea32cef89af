"""What is checked in under checkpoints/ is small, whole and true."""

import json

import jax
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.evidence_rows import write_row
from zoo.common.files import digest_of
from zoo.complexity import count_macs, count_params
from zoo.evaluation import evaluate
from zoo.pretrained import find, list_pretrained, load_pretrained, read_manifest
from zoo.pretrained.card import render_card
from zoo.publishing.cards import comparison
from zoo.publishing.logits import compressed_logits, unpacked_logits
from zoo.publishing.measuring import open_split
from zoo.study import Result, read_evidence
from zoo.study.results import LOGITS, RESULT

PUBLISHED = REPOSITORY / "checkpoints"
ROWS = read_evidence(PUBLISHED)
MANIFESTS = {
    path.parent.name: read_manifest(path.parent) for path in PUBLISHED.glob("*/manifest.json")
}
SMALLEST = min(MANIFESTS, key=lambda id: MANIFESTS[id].num_bytes, default=None)
TAT = "vanilla_resnet50_tat_lrelu"
FOLDERS = {"cifar10": "cifar10_dir", "tiny_imagenet": "tiny_imagenet_dir"}


def _counts(logits, labels):
    """Right answers among the first one and five, by sorting."""
    order = np.argsort(-logits.astype(np.float64), axis=1, kind="stable")[:, :5]
    hits = order == labels[:, None]
    return int(hits[:, 0].sum()), int(hits.any(axis=1).sum())


def test_stored_logits_give_the_counts_of_every_row():
    for row in (row for row in ROWS if not row.failed):
        with np.load(row.folder / LOGITS) as stored:
            logits, labels = stored["logits"], stored["labels"]
        measured = row.metrics
        expected = (measured["correct1"], measured["correct5"])
        assert _counts(logits, labels) == expected, row.key
        assert len(labels) == measured["n"] and np.isfinite(logits).all()
        assert measured["most_frequent"] == np.bincount(labels).max()


def test_every_row_is_whole_and_says_where_it_belongs():
    for row in ROWS:
        assert row.key == (row.folder.parent.name, row.folder.name)
        files = {path.name: digest_of(path.read_bytes()) for path in row.folder.iterdir()}
        del files[RESULT]
        assert files == row.values["files"], row.key
        assert len(row.values["commit"]) == 40
        assert '"/' not in json.dumps(row.values), "a place of one machine"
        assert " /" not in row.values["environment"]["command"]


def test_weights_and_evidence_stay_small():
    assert sum(p.stat().st_size for p in PUBLISHED.rglob("*") if p.is_file()) < 120e6
    assert all(manifest.num_bytes <= 9e6 for manifest in MANIFESTS.values())


def test_cards_say_what_the_evidence_says():
    for manifest in MANIFESTS.values():
        place = manifest.recipe.get("evidence")
        own = [row for row in ROWS if f"evidence/{'/'.join(row.key)}" == place]
        assert len(own) == (place is not None)
        for row in own:
            text = (PUBLISHED / manifest.id / "card.md").read_text()
            assert text == render_card(manifest, comparison(ROWS, row))


def _reproduce(id, request, monkeypatch):
    monkeypatch.setenv("ZOO_CHECKPOINTS", str(PUBLISHED))
    model = load_pretrained(id)
    manifest = model.manifest
    size = tuple(manifest.input_size)
    assert (count_params(model.network), count_macs(model.network, size)) == (
        manifest.params,
        manifest.macs,
    )
    tag = id.partition(".")[2].removesuffix("_cpu")
    config = json.loads(json.dumps(manifest.recipe["config"]))
    place = None
    if tag in FOLDERS:
        place = str(request.getfixturevalue(FOLDERS[tag]))
    if config["data"]["name"].startswith("folder:"):
        config["data"]["name"] = f"folder:{place}"
    source = open_split(config, place)
    (measured,) = manifest.metrics.values()
    result = evaluate(model, source, precision=measured["precision"], devices=jax.devices()[:1])
    counts = (result.correct1, result.correct5, result.n)
    assert counts == (measured["correct1"], measured["correct5"], measured["n"])


@pytest.mark.skipif(SMALLEST is None, reason="no weights are published")
def test_the_smallest_weight_reproduces_its_counts(request, monkeypatch):
    _reproduce(SMALLEST, request, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("id", sorted(MANIFESTS))
def test_every_weight_reproduces_its_counts(id, request, monkeypatch):
    _reproduce(id, request, monkeypatch)


def test_evidence_is_no_weight(monkeypatch):
    monkeypatch.setenv("ZOO_CHECKPOINTS", str(PUBLISHED))
    assert sorted(list_pretrained()) == sorted(MANIFESTS)
    assert all(find(id)[1].folder.parent == PUBLISHED for id in MANIFESTS)


def test_half_precision_is_kept_only_where_the_counts_survive():
    labels = np.zeros(4, np.int32)
    clear = np.eye(10, dtype=np.float32)[labels]
    close = clear.copy()
    close[:, 1] = np.float32(1.0001)  # above class 0, but equal to it in float16
    huge = clear * np.float32(1e6)
    for logits, kept in ((clear, np.float16), (close, np.float32), (huge, np.float32)):
        stored, own = unpacked_logits(compressed_logits(logits, labels))
        assert stored.dtype == kept and _counts(stored, own) == _counts(logits, labels)


def test_guessing_is_recognised(tmp_path):
    folders = [write_row(tmp_path, TAT, seed, correct=n) for seed, n in enumerate((20, 27, 60))]
    rows = [Result.read(folder) for folder in folders]
    assert [row.at_chance for row in rows] == [True, True, False]  # 27 of 200 may be luck


def test_the_card_sets_the_weight_beside_the_baseline(tmp_path):
    for seed, (ours, theirs) in enumerate([(180, 190), (184, 190), (182, 193)]):
        write_row(tmp_path, TAT, seed, correct=ours)
        write_row(tmp_path, "resnet50", seed, correct=theirs)
    rows = read_evidence(tmp_path)
    own = next(row for row in rows if row.key[1] == f"{TAT}-0")
    text = comparison(rows, own)
    assert "falls short of it by 4.50 ± 0.76 points (mean and standard error, 3 seeds)" in text
    assert "may have had a part in it" in text
    for rate in (0.1, 0.03):
        losses = (2.0, 0.1 / rate)
        write_row(tmp_path, TAT, matrix="digits_rates", rate=rate, losses=losses)
    text = comparison(read_evidence(tmp_path), own)
    assert "The test split was not used for choosing anything." in text
    assert "is not trained yet: no comparison" in comparison([own], own)


def test_another_budget_is_not_compared(tmp_path):
    own = Result.read(write_row(tmp_path, TAT))
    folder = write_row(tmp_path, "resnet50")
    result = json.loads((folder / "result.json").read_text())
    result["config"]["steps"] = 800
    (folder / "result.json").write_text(json.dumps(result))
    rows = read_evidence(tmp_path)
    assert "was trained with another budget: no comparison" in comparison(rows, own)
