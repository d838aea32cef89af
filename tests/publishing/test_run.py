"""Publishing: from a clean tree, a finished run, with numbers measured on the spot."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import zoo
from tests.weights import ID, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.checkpoint import read_record
from zoo.cli import main
from zoo.export import release
from zoo.finetuning import finetune
from zoo.pretrained import list_pretrained, load_pretrained, write_index
from zoo.publishing.origins import code_version, public_command

CLASSES = ("7", "3")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """The head of the tiny network, trained for ten steps on two digits."""
    workdir = tmp_path_factory.mktemp("runs") / "head"
    return finetune(
        tiny_model(), "digits", workdir=workdir, classes=CLASSES, train="last:1", steps=4,
        progress=False,
    )  # fmt: skip


def _publish(monkeypatch, *arguments):
    monkeypatch.setattr("zoo.publishing.run.code_version", lambda: "0" * 40)
    return main(["publish", *map(str, arguments)])


def test_a_finished_run_can_be_published_once(tuned, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_CHECKPOINTS", str(tmp_path))
    id = f"{tuned.model.provenance.arch}.sevens"
    assert _publish(monkeypatch, tuned.workdir, "--id", id, "--release", tmp_path) == 0
    assert list_pretrained() == [id]
    model = load_pretrained(id)
    released = load_pretrained(tmp_path / f"{id}.safetensors").manifest.files
    assert (
        model.manifest.releases["safetensors"]["sha256"] == released[f"{id}.safetensors"]["sha256"]
    )
    ours, theirs = model.split()[1], tuned.model.split()[1]
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    measured = model.manifest.metrics["digits[7,3]"]
    assert (measured["top1"], measured["commit"]) == (tuned.metrics["top1"], "0" * 40)
    assert measured["command"] == f"zoo eval {id} --data digits --classes 7 3 --json"
    assert model.manifest.recipe["config"]["data"]["classes"] == ["7", "3"]
    assert f"{measured['correct1']} / {measured['n']}" in (tmp_path / id / "card.md").read_text()
    assert (tmp_path / id / "log.jsonl").read_text()
    capsys.readouterr()
    assert _publish(monkeypatch, tuned.workdir, "--id", id) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("id", "change", "match"),
    [
        ("vanilla_resnet50_he_relu.x", None, "the run trained vanilla_resnet18_he_relu"),
        (ID, "other weights", "published with other weights; choose another tag"),
        (f"{ID}_new", "unfinished", "is at step 4 of 20; finish it first"),
    ],
)
def test_publishing_is_refused(tuned, checkpoints, monkeypatch, capsys, id, change, match):
    if change == "unfinished":
        record = dataclasses.replace(read_record(tuned.workdir))
        record.record["total_steps"] = 20
        monkeypatch.setattr("zoo.publishing.origins.read_record", lambda run: record)
    assert _publish(monkeypatch, tuned.workdir, "--id", id) == 2
    assert match in capsys.readouterr().err
    assert list_pretrained() == [ID]


def _git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, timeout=30)


def test_a_tree_with_changes_has_no_version(tmp_path):
    assert code_version(tmp_path) == f"flax-vanilla-zoo {zoo.__version__}"
    _git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="has changes, commit them first: \\?\\? code.py"):
        code_version(tmp_path)
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "code")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "index.json").write_text("{}")
    assert len(code_version(tmp_path)) == 40


def _listed_in_its_manifest(checkpoints):
    release(checkpoints / ID, checkpoints.parent / "one.safetensors")


def _served(checkpoints):
    write_index(checkpoints, ["https://example.org/weights"])


def _tagged(checkpoints):
    _git(checkpoints, "init", "-q")
    _git(checkpoints, "add", ".")
    _git(checkpoints, "commit", "-qm", "weights")
    _git(checkpoints, "tag", "v1")


@pytest.mark.parametrize(
    ("released", "where"),
    [
        (_listed_in_its_manifest, r"its manifest lists a release \(safetensors\)"),
        (_served, "served from https://example.org/weights"),
        (_tagged, "version v1 lists it"),
    ],
)
def test_what_others_may_have_is_never_replaced(
    tuned, checkpoints, monkeypatch, capsys, released, where
):
    released(checkpoints)
    before = (checkpoints / ID / "manifest.json").read_bytes()
    assert _publish(monkeypatch, tuned.workdir, "--id", ID, "--replace", ID) == 2
    error = capsys.readouterr().err
    assert re.search(where, error) and f"{ID} is never replaced" in error
    assert "publish under another tag" in error
    assert (checkpoints / ID / "manifest.json").read_bytes() == before
    load_pretrained(ID)


def test_what_nobody_has_is_replaced_on_demand(tuned, checkpoints, monkeypatch, capsys):
    assert _publish(monkeypatch, tuned.workdir, "--id", ID, "--replace", ID, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["written"]
    ours, theirs = load_pretrained(ID).split()[1], tuned.model.split()[1]
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert not list(checkpoints.glob(".*"))


def test_a_replacement_that_fails_leaves_the_weight(tuned, checkpoints, monkeypatch, capsys):
    def fails(*arguments, **options):
        raise ValueError("no space")

    before = (checkpoints / ID / "manifest.json").read_bytes()
    monkeypatch.setattr("zoo.publishing.run.write_weight", fails)
    assert _publish(monkeypatch, tuned.workdir, "--id", ID, "--replace", ID) == 2
    assert (checkpoints / ID / "manifest.json").read_bytes() == before
    load_pretrained(ID)


def test_the_folder_of_an_installed_package_is_no_place_for_weights(tuned, capsys, monkeypatch):
    inside = Path(zoo.__file__).parent / "published"
    assert _publish(monkeypatch, tuned.workdir, "--id", ID, "--checkpoints", inside) == 2
    assert "belongs to the installed package; give --checkpoints" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--id", ID, "--sweep", "digits"]])
def test_one_run_or_a_sweep(capsys, options):
    assert main(["publish", "runs/mine", *options]) == 2
    assert "give --id ARCH.TAG for one run, or --sweep" in capsys.readouterr().err


def test_a_command_is_told_without_the_places_of_one_machine():
    told = public_command(
        ["/usr/bin/zoo", "train", "--workdir", "/home/me/run one", "--steps", "3"]
    )
    assert told == "zoo train --workdir 'run one' --steps 3"
    assert public_command(["/home/me/mine.py", "x"]) == "python mine.py x"
