"""A published weight loads bit for bit, or is refused in one sentence."""

import dataclasses
import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.weights import ARCH, CLASSES, ID, metrics_of, publish_tiny, random_source, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.checkpoint import RunCheckpoints
from zoo.evaluation import evaluate
from zoo.models import changed_options, create_model
from zoo.pretrained import (
    adapt,
    list_pretrained,
    load_pretrained,
    read_manifest,
    shaping_record,
    write_pretrained,
)
from zoo.pretrained.card import read_comparison, render_card
from zoo.shaping import TAT, ShapedActivation

FILES = ["manifest.json", "card.md", "weights/_METADATA", "weights/manifest.ocdbt"]


def _same(first, second):
    ours, theirs = first.split()[1], second.split()[1]
    assert ours.keys() == theirs.keys()
    return all(np.array_equal(np.asarray(ours[n]), np.asarray(theirs[n])) for n in ours)


@pytest.mark.parametrize("name", [ID, ARCH, "dir"])
def test_loading_gives_back_every_bit_and_what_belongs_to_it(checkpoints, name):
    model = load_pretrained(f"dir:{checkpoints / ID}" if name == "dir" else name)
    written = tiny_model()
    assert _same(model, written)
    assert model.preprocess == written.preprocess
    assert model.classes == CLASSES
    assert model.solved == written.solved
    assert model.manifest.id == ID and model.manifest.metrics == metrics_of()
    source = random_source(20)
    assert evaluate(model, source).correct1 == evaluate(written, source).correct1


def test_loading_never_solves(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the activation was solved")

    given = ShapedActivation("leaky_relu", negative_slope=0.4, output_scale=1.3)
    shaped = tiny_model(arch="vanilla_resnet18_tat_lrelu", activation=given)
    folder = tmp_path / "vanilla_resnet18_tat_lrelu.tiny"
    write_pretrained(folder, shaped, metrics={}, recipe={}, data_terms="x")
    monkeypatch.setattr(TAT, "solve", refuse)
    model = load_pretrained(f"dir:{folder}")
    assert model.network.activations == (given,)
    assert model.manifest.shaping["solved"]["negative_slope"] == 0.4
    with pytest.raises(AssertionError, match="solved"):
        create_model("vanilla_resnet34_tat_lrelu", abstract=True, num_classes=11)


def test_listing_needs_neither_jax_nor_flax(checkpoints):
    code = (
        "import sys, zoo.pretrained as p\n"
        f"assert p.list_pretrained('*18*') == ['{ID}']\n"
        "assert p.list_pretrained('*50*') == []\n"
        "assert p.read_manifest(p.find('" + ARCH + "')[1].folder).params > 0\n"
        "assert not {'jax', 'flax', 'orbax'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=60)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (f"{ARCH}.tiy", f"there are: {ID}"),
        ("vanilla_resnet19_he_relu.tiny", f"nearest: {ID}"),
        ("Bad.Name", "allowed: arch.tag"),
        ("x" * 200, "allowed: arch.tag"),
        ("hf:name", "write hf:ORG/NAME@REVISION"),
        ("http://example.org/x", "is not https"),
        ("../checkpoints/nothing", "does not exist"),
        ("dir:nowhere", "is not a regular file one may read .*; give the folder"),
    ],
)
def test_unknown_names_say_what_is_allowed(checkpoints, name, match):
    with pytest.raises(ValueError, match=match) as error:
        load_pretrained(name)
    assert "\n" not in str(error.value)


def test_a_weights_folder_needs_no_prefix(checkpoints):
    model = load_pretrained(str(checkpoints / ID))
    assert model.manifest == load_pretrained(f"dir:{checkpoints / ID}").manifest


def _data_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _link(path):
    target = path.parent / f"{path.name}.real"
    path.rename(target)
    path.symlink_to(target)


def _fifo(path):
    path.unlink()
    os.mkfifo(path)


DAMAGES = {
    "flip": _flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "append": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "missing": lambda path: path.unlink(),
    "link": _link,
    "fifo": _fifo,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", [*FILES, "largest"])
def test_every_damage_of_every_file_is_refused_in_one_sentence(checkpoints, damage, file):
    folder = checkpoints / ID
    DAMAGES[damage](_data_file(folder) if file == "largest" else folder / file)
    with pytest.raises(ValueError) as error:
        load_pretrained(ID)
    assert ID in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["extra.txt", "weights/extra", "weights/d/extra"])
def test_a_file_that_was_not_published_is_refused(checkpoints, name):
    (checkpoints / ID / name).write_text("x")
    with pytest.raises(ValueError, match="is extra"):
        load_pretrained(ID)


@pytest.mark.fault("B17")
def test_swapped_weights_of_equal_shape_are_refused(checkpoints, tmp_path):
    other = tmp_path / "elsewhere" / ID
    write_pretrained(other, tiny_model(seed=9), metrics={}, recipe={}, data_terms="x")
    (checkpoints / ID / "weights").rename(tmp_path / "old")
    (other / "weights").rename(checkpoints / ID / "weights")
    with pytest.raises(ValueError, match="is missing"):
        load_pretrained(ID)


@pytest.mark.fault("A6")
@pytest.mark.parametrize("damage", ["flip", "half", "empty", "link"])
def test_a_damaged_index_is_refused(checkpoints, damage):
    DAMAGES[damage](checkpoints / "index.json")
    with pytest.raises(ValueError, match="index.json|no weight|not as published"):
        load_pretrained(ID)


def test_another_number_of_classes_replaces_the_head_and_says_so(checkpoints, caplog):
    with caplog.at_level("WARNING"):
        model = load_pretrained(ID, num_classes=3)
    assert "newly initialised, to be trained before evaluation: head.bias, head.kernel" in (
        caplog.text
    )
    kept, old = model.split()[1], tiny_model().split()[1]
    assert kept["head.kernel"].shape == (old["head.kernel"].shape[0], 3)
    assert all(np.array_equal(kept[n], old[n]) for n in old if not n.startswith("head."))
    with pytest.raises(ValueError, match="was replaced and is not trained"):
        evaluate(model, random_source(5, classes=CLASSES[:3]))


def test_the_same_number_of_classes_keeps_the_head(checkpoints):
    assert _same(load_pretrained(ID, num_classes=7), tiny_model())


def test_the_report_lists_what_is_kept_and_new():
    report = adapt(tiny_model(), num_classes=3).provenance.report
    assert report.new == ("head.bias", "head.kernel")
    assert set(report.kept) | set(report.new) == set(tiny_model().split()[1])


def test_a_published_folder_is_never_overwritten(checkpoints):
    with pytest.raises(ValueError, match="a tag is never reused"):
        publish_tiny(checkpoints)


@pytest.mark.fault("E15")
def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(manifest):
        raise RuntimeError("no card")

    with pytest.raises(RuntimeError):
        publish_tiny(tmp_path / "checkpoints", card=fail)
    assert list((tmp_path / "checkpoints").iterdir()) == []
    assert list_pretrained() is not None


@pytest.fixture
def run(tmp_path):
    """A run directory with two steps of the tiny model, averaged weights in the second."""
    model = tiny_model()
    about = {
        "arch": ARCH,
        "overrides": changed_options(model.config, ARCH),
        "activation": dataclasses.asdict(model.network.activations[0]),
        "preprocess": dataclasses.asdict(model.preprocess),
        "classes": list(CLASSES),
    }
    folder = tmp_path / "run"
    with RunCheckpoints(folder) as checkpoints:
        for step, averaged in ((1, None), (2, tiny_model(seed=2).split()[1])):
            state = {"params": model.split()[1], "opt_state": [jnp.ones(3)], "ema": averaged}
            checkpoints.save(step, state, record={"model": about}, metrics={"top1": 1.0 / step})
    return folder


def test_a_run_loads_its_averaged_weights_where_it_has_them(run):
    model = load_pretrained(run)
    assert _same(model, tiny_model(seed=2))
    assert (model.classes, model.manifest) == (CLASSES, None)
    assert model.preprocess == tiny_model().preprocess
    assert _same(load_pretrained(run, step=1), tiny_model())
    assert _same(load_pretrained(run, step="best"), tiny_model())


def test_a_step_of_a_published_weight_is_refused(checkpoints):
    with pytest.raises(ValueError, match="belongs to training runs"):
        load_pretrained(ID, step=3)


def test_how_a_network_was_shaped_is_recorded():
    model = create_model("vanilla_resnet18_tat_lrelu", abstract=True)
    record = json.loads(json.dumps(shaping_record(model, (TAT("leaky_relu"),))))
    assert (record["method"], record["activation"]) == ("TAT", "leaky_relu")
    assert record["targets"] == {"eta": 0.9}
    assert record["nonlinear_depth"] == 17
    assert record["solved"] == dataclasses.asdict(model.activation)
    assert len(record["graph_hash"]) == 64
    assert shaping_record(tiny_model().network, ()) is None


def test_the_card_is_made_of_the_manifest(checkpoints, tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text('[{"network": "this", "top-1": "30 %"}, {"network": "other", "top-1": "9 %"}]')
    text = render_card(load_pretrained(ID).manifest, read_comparison(rows))
    for expected in (f"# {ID}", "30.00 %", "3 / 10", "| other | 9 % |", f'"{ID}"', "data: noise"):
        assert expected in text


PUBLISHED = REPOSITORY / "checkpoints"
IDS = sorted(path.parent.name for path in PUBLISHED.glob("*/manifest.json"))


@pytest.mark.skipif(not IDS, reason="no weights are published")
def test_the_index_lists_every_published_weight_and_its_numbers():
    index = json.loads((PUBLISHED / "index.json").read_text())["weights"]
    assert sorted(index) == IDS
    for id, entry in index.items():
        metrics = read_manifest(PUBLISHED / id).metrics
        assert {name: m["top1"] for name, m in metrics.items()} == {
            name: m["top1"] for name, m in entry["metrics"].items()
        }
