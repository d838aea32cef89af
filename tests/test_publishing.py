"""Publishing: from a clean tree, a finished run, with numbers measured on the spot."""

import dataclasses
import subprocess

import numpy as np
import pytest

from tests.conftest import tool
from tests.weights import ID, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.checkpoint import read_record
from zoo.finetuning import finetune
from zoo.pretrained import list_pretrained, load_pretrained

CLASSES = ("7", "3")
PUBLISH = tool("publish")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """The head of the tiny network, trained for ten steps on two digits."""
    workdir = tmp_path_factory.mktemp("runs") / "head"
    return finetune(
        tiny_model(), "digits", workdir=workdir, classes=CLASSES, train="last:1", steps=4,
        progress=False,
    )  # fmt: skip


def _publish(monkeypatch, *arguments):
    monkeypatch.setattr(PUBLISH, "clean_commit", lambda repository: "0" * 40)
    return PUBLISH.main([str(argument) for argument in arguments])


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
        monkeypatch.setattr(PUBLISH, "read_record", lambda run: record)
    assert _publish(monkeypatch, tuned.workdir, "--id", id) == 2
    assert match in capsys.readouterr().err
    assert list_pretrained() == [ID]


def test_publishing_refuses_a_tree_with_changes(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, timeout=30)

    with pytest.raises(ValueError, match="git status failed"):
        PUBLISH.clean_commit(tmp_path)
    git("init", "-q")
    (tmp_path / "code.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="has changes, commit them first: \\?\\? code.py"):
        PUBLISH.clean_commit(tmp_path)
    git("add", ".")
    git("commit", "-qm", "code")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "index.json").write_text("{}")
    assert len(PUBLISH.clean_commit(tmp_path)) == 40
