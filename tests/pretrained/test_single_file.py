"""One safetensors file, or a Hugging Face folder of it, loads bit for bit or is refused."""

import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import bad_server as bad
from tests.weights import CLASSES, ID, metrics_of, random_source, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.checkpoint import read_about
from zoo.cli import main
from zoo.evaluation import evaluate
from zoo.export import export
from zoo.pretrained import list_cached, load_pretrained


def _same(first, second):
    ours, theirs = first.split()[1], second.split()[1]
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[n], theirs[n]) for n in ours)


@pytest.fixture
def single(checkpoints, tmp_path):
    return export(ID, tmp_path / "one.safetensors")


@pytest.fixture
def folder(checkpoints, tmp_path):
    return export(ID, tmp_path / "face", format="huggingface")


@pytest.mark.parametrize("prefix", ["", "dir:"])
def test_a_file_loads_like_the_weight_it_was_made_from(single, prefix):
    model = load_pretrained(f"{prefix}{single}")
    assert _same(model, tiny_model())
    assert model.classes == CLASSES and model.preprocess == tiny_model().preprocess
    assert model.manifest.id == ID and model.manifest.metrics == metrics_of()
    assert list(model.manifest.files) == [f"{ID}.safetensors"]
    source = random_source(20)
    assert evaluate(model, source).correct1 == evaluate(tiny_model(), source).correct1


def test_info_tells_what_a_file_holds_and_others_may_read_it(single, folder, capsys):
    assert main(["info", str(single), "--json"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (value["id"], value["bytes"]) == (ID, single.stat().st_size)
    assert {path.stat().st_mode & 0o777 for path in (single, *folder.iterdir())} == {0o644}


def test_exported_again_a_file_is_the_same(single, tmp_path):
    again = export(single, tmp_path / "again.safetensors")
    assert again.read_bytes() == single.read_bytes()


@pytest.mark.fault("B13")
def test_every_flipped_byte_is_found(single, tmp_path):
    """At places all over the length, the header and the data, and at both ends."""
    content = single.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    generator = np.random.default_rng(0)
    places = [0, 3, 7, 8, header - 1, header, len(content) - 1]
    places += generator.integers(8, header, 15).tolist()
    places += generator.integers(header, len(content), 20).tolist()
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / "x.safetensors").write_bytes(damaged)
        with pytest.raises(ValueError) as error:
            load_pretrained(tmp_path / "x.safetensors")
        assert "\n" not in str(error.value), place


def _with(single, change_arrays=None, change_about=None):
    arrays, about = load_file(single), json.loads(read_about(single))
    if change_arrays:
        change_arrays(arrays)
    if change_about:
        change_about(about)
    from zoo.checkpoint.single_file import _digest

    text = json.dumps(about)
    signed = f'{text[:-1]}, "sha256": "{_digest(text, arrays)}"}}'
    save_file(arrays, single, metadata={"weight": signed})


def _reshape(arrays):
    arrays["head.bias"] = arrays["head.bias"][:3].copy()


CONSISTENT_BUT_WRONG = {
    "another shape": ({"change_arrays": _reshape}, r"other shape: head.bias is float32\[3\]"),
    "missing": ({"change_arrays": lambda a: a.pop("head.bias")}, "missing in the .*: head.bias"),
    "extra": (
        {"change_arrays": lambda a: a.update(x=np.ones(2, np.float32))},
        "only in the checkpoint: x",
    ),
    "whole numbers": (
        {"change_arrays": lambda a: a.update({"head.bias": np.ones(7, np.int32)})},
        "holds head.bias as I32; weights are",
    ),
    "newer": ({"change_about": lambda v: v.update(format_version=9)}, "upgrade flax-vanilla-zoo"),
    "unknown model": ({"change_about": lambda v: v.update(arch="x", id="x.y")}, "describes no"),
    "no classes": (
        {"change_about": lambda v: v.update(classes=[])},
        "'classes': expected array of length",
    ),
    "field missing": ({"change_about": lambda v: v.pop("licence")}, "fields missing: licence"),
    "unsafe id": ({"change_about": lambda v: v.update(id="../x")}, "'id': expected .*'../x' given"),
}


@pytest.mark.parametrize("case", CONSISTENT_BUT_WRONG)
def test_a_file_that_describes_no_model_of_ours_is_refused(single, case):
    change, match = CONSISTENT_BUT_WRONG[case]
    _with(single, **change)
    with pytest.raises(ValueError, match=match) as error:
        load_pretrained(single)
    assert "\n" not in str(error.value)


FOREIGN = {
    "empty": (b"", "no safetensors file"),
    "pickle": (b"\x80\x04cos\nsystem\n.", "no safetensors file"),
    "zip": (b"PK\x03\x04" + bytes(60), "no safetensors file"),
    "header without end": ((1 << 60).to_bytes(8, "little") + b"{}", "no safetensors file"),
    "header of 100 MB": ((10**8).to_bytes(8, "little") + bytes(200), "no safetensors file"),
    "no JSON": ((4).to_bytes(8, "little") + b"abcd", "no whole safetensors file"),
    "nothing said": ((2).to_bytes(8, "little") + b"{}", "does not say which model"),
}


@pytest.mark.fault("B12", "B13")
@pytest.mark.parametrize("case", FOREIGN)
def test_what_zoo_export_did_not_write_is_refused(tmp_path, case):
    content, match = FOREIGN[case]
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=match) as error:
        load_pretrained(tmp_path / "x.safetensors")
    assert "\n" not in str(error.value)


def test_a_missing_file_a_folder_and_a_pipe_are_one_sentence(tmp_path):
    (tmp_path / "d.safetensors").mkdir()
    os.mkfifo(tmp_path / "p.safetensors")
    for name, match in (("none", "there is no"), ("d", "no safeten"), ("p", "no safetensors file")):
        with pytest.raises(ValueError, match=match):
            load_pretrained(tmp_path / f"{name}.safetensors")


def test_numpy_reads_a_file_where_neither_jax_nor_orbax_nor_we_can_be_imported(single):
    code = f"""
import json, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"jax", "jaxlib", "flax", "orbax", "torch", "zoo", "ml_dtypes"}}:
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
from safetensors import safe_open
with safe_open({str(single)!r}, "np") as file:
    about = json.loads(file.metadata()["weight"])
    arrays = {{name: file.get_tensor(name) for name in file.keys()}}
print(about["id"], sum(array.size for array in arrays.values()) == about["params"])
"""
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout.split() == [ID, "True"]


def test_a_network_that_is_not_published_says_that_much_is_unknown(tmp_path):
    model = tiny_model()
    back = load_pretrained(export(model, tmp_path / "own.safetensors"))
    assert _same(back, model) and back.classes == CLASSES
    assert back.manifest.licence == "unknown" and back.manifest.metrics == {}
    assert back.manifest.id.endswith(".unpublished")


def test_an_adapted_weight_does_not_claim_the_accuracy_of_the_original(checkpoints, tmp_path):
    model = load_pretrained(ID, in_channels=3)
    back = load_pretrained(export(model, tmp_path / "rgb.safetensors"))
    assert back.manifest.metrics == {} and back.config.in_channels == 3
    partly = load_pretrained(ID, num_classes=3)
    with pytest.raises(ValueError, match="a weight needs the names of its classes"):
        export(partly, tmp_path / "partly.safetensors")


def test_a_hugging_face_folder_has_what_the_hub_looks_for(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "manifest.json"}
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"]["1"] == "b" and config["num_classes"] == 7
    assert config["pretrained_cfg"]["input_size"] == [1, 8, 8]
    head, body = (folder / "README.md").read_text().split("---\n")[1:3]
    assert "license: apache-2.0" in head and "pipeline_tag: image-classification" in head
    assert 'load_pretrained("hf:ORG/face")' in body and "3 / 10" in body


def test_a_hugging_face_folder_loads_like_the_weight(folder):
    model = load_pretrained(f"dir:{folder}")
    assert _same(model, tiny_model())
    assert model.manifest.metrics == metrics_of() and "README.md" in model.manifest.files
    for name in ("manifest.json", "README.md", "config.json"):
        (folder / name).unlink()
    alone = load_pretrained(f"dir:{folder}")
    assert _same(alone, tiny_model()) and list(alone.manifest.files) == [f"{ID}.safetensors"]


def test_what_git_and_the_hub_leave_in_a_folder_does_no_harm(folder):
    (folder / ".git" / "objects").mkdir(parents=True)
    for name in (".gitattributes", ".git/objects/x"):
        (folder / name).write_text("x")
    assert _same(load_pretrained(f"dir:{folder}"), tiny_model())
    (folder / "evil.py").write_text("x")
    with pytest.raises(ValueError, match="evil.py is extra"):
        load_pretrained(f"dir:{folder}")


@pytest.mark.parametrize("name", ["config.json", "README.md", "model.safetensors"])
def test_every_file_of_a_hugging_face_folder_is_checked(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(ValueError, match=f"is not as published: {name} has"):
        load_pretrained(f"dir:{folder}")


def test_a_hugging_face_folder_loads_from_servers(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path / "web" / "org" / "name" / "resolve" / "v1")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    with bad.serving(tmp_path / "web") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert _same(load_pretrained("hf:org/name@v1"), tiny_model())
        asked = len(server.requests)
        assert _same(load_pretrained(f"{server.url}/org/name/resolve/v1"), tiny_model())
        assert len(server.requests) == asked + 1  # the manifest; its files are in the cache
        assert [weight.id for weight in list_cached(verify=True)] == [ID]
        server.faults["model.safetensors"] = bad.flipped
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "other"))
        with pytest.raises(ValueError, match="sent other bytes than were published"):
            load_pretrained("hf:org/name@v1")
        assert list_cached() == []


def test_a_full_disk_is_exit_code_5_and_leaves_nothing(checkpoints, tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        for form in ("safetensors", "huggingface", "torch"):
            assert main(["export", ID, "--format", form, "--out", str(tmp_path / "x")]) == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("x cannot be written (File too large)" in s for s in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]
