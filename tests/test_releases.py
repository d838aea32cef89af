"""A weight's single file is listed in its manifest, once; nothing else of the weight changes."""

import json

import pytest

from tests.weights import ARCH, ID, metrics_of, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.cli import main
from zoo.common.files import file_digest
from zoo.export import export, release
from zoo.pretrained import load_pretrained, read_manifest, write_pretrained

URL = "https://example.org/weights/tiny.safetensors"


def test_a_release_is_listed_beside_the_folder_and_the_weight_still_loads(checkpoints, tmp_path):
    before = read_manifest(checkpoints / ID)
    path = tmp_path / "one.safetensors"
    manifest = release(checkpoints / ID, path, url=URL)
    digest = file_digest(path)
    expected = {"file": f"{ID}.safetensors", "url": URL, **digest}
    assert read_manifest(checkpoints / ID).releases == {"safetensors": expected}
    assert (manifest.files, manifest.metrics) == (before.files, before.metrics)
    model = load_pretrained(ID)  # the index follows the manifest
    assert model.manifest.releases == {"safetensors": expected}
    assert load_pretrained(path).manifest.files == {f"{ID}.safetensors": digest}


def test_anyone_can_make_the_listed_file_again(checkpoints, tmp_path):
    release(checkpoints / ID, tmp_path / "one.safetensors")
    again = file_digest(export(ID, tmp_path / "again.safetensors"))
    assert again["sha256"] == read_manifest(checkpoints / ID).releases["safetensors"]["sha256"]
    release(checkpoints / ID, tmp_path / "two.safetensors", url=URL)
    assert read_manifest(checkpoints / ID).releases["safetensors"]["url"] == URL


def test_a_release_is_never_replaced(checkpoints, tmp_path):
    folder = checkpoints / f"{ARCH}.other"
    write_pretrained(
        folder, tiny_model(seed=5), metrics=metrics_of(), recipe={}, data_terms="data: noise"
    )
    path = folder / "manifest.json"
    listed = {"safetensors": {"file": "x.safetensors", "bytes": 1, "sha256": "0" * 64}}
    values = {**json.loads(path.read_text()), "releases": listed}
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="a release is never replaced, publish under another tag"):
        release(folder, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
    assert read_manifest(folder).releases == listed


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({"file": "../x", "bytes": 1, "sha256": "0" * 64}, "names a folder"),
        ({"file": "..", "bytes": 1, "sha256": "0" * 64}, "unsafe part"),
        ({"bytes": 1, "sha256": "0" * 64}, "missing required field file"),
        ({"file": "x", "bytes": 1, "sha256": "0"}, "sha256: expected str matching"),
        ({"file": "x", "bytes": -1, "sha256": "0" * 64}, "bytes: expected int >= 0"),
        ({"file": "x", "sha256": "0" * 64}, "missing required field bytes"),
        ({"file": "x", "bytes": 1, "sha256": "0" * 64, "url": "http://x.org"}, "is not https"),
        ({"file": "x", "bytes": 1, "sha256": "0" * 64, "url": 3}, "url: expected str, got int"),
        ("x", "expected object, got str"),
    ],
)
def test_a_bad_release_in_a_manifest_is_refused(checkpoints, entry, match):
    path = checkpoints / ID / "manifest.json"
    values = {**json.loads(path.read_text()), "releases": {"safetensors": entry}}
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"'releases': .*{match}"):
        read_manifest(checkpoints / ID)


def test_export_release_is_release(checkpoints, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", ID, "--release", "--url", URL, "--json"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert value["path"] == str(tmp_path / f"{ID}.safetensors")
    assert value["release"] == read_manifest(checkpoints / ID).releases["safetensors"]


MISTAKES = {
    "another form": (["--release", "--format", "torch"], "lists a safetensors file, not torch"),
    "an address alone": (["--url", URL], "--url belongs to --release"),
    "plain http": (["--release", "--url", "http://example.org"], "is not https"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_changes_nothing(checkpoints, tmp_path, capsys, case):
    arguments, match = MISTAKES[case]
    before = (checkpoints / ID / "manifest.json").read_bytes()
    assert main(["export", ID, *arguments, "--out", str(tmp_path / "x.safetensors")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and match in lines[0]
    assert (checkpoints / ID / "manifest.json").read_bytes() == before
    assert not (tmp_path / "x.safetensors").exists()
