"""A manifest is believed only when every field holds what it should."""

import dataclasses
import json

import numpy as np
import pytest

from tests.weights import ID
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.pretrained import ManifestError, load_pretrained, read_manifest
from zoo.pretrained.index import parse_index
from zoo.pretrained.schema import file_name_problem
from zoo.pretrained.strict_json import MAX_BYTES


def _set(*path, to):
    def change(values):
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = to

    return change


BAD_MANIFESTS = {
    "newer": (_set("format_version", to=2), "upgrade flax-vanilla-zoo"),
    "no version": (lambda v: v.pop("format_version"), "format_version is None"),
    "version as text": (_set("format_version", to="1"), "format_version is '1'"),
    "missing field": (lambda v: v.pop("classes"), "fields missing: classes"),
    "other id": (_set("id", to="vanilla_resnet50_he_relu.tiny"), "expected vanilla_resnet18"),
    "path as id": (
        _set("id", to="../../etc/passwd"),
        "'id': expected .* \\('../../etc/passwd' given\\)",
    ),
    "unknown architecture": (
        lambda v: v.update(arch="os_system", id="os_system.tiny"),
        "unknown model 'os_system'",
    ),
    "overrides as list": (_set("overrides", to=[]), "'overrides': expected object, got array"),
    "unknown override": (_set("config", "eval", to="print(1)"), "unknown option eval"),
    "reserved override": (_set("config", "shaping", to=1), "shaping cannot be an override"),
    "override of a wrong type": (_set("config", "width", to="wide"), "describes no model"),
    "abstract override": (_set("config", "abstract", to=False), "describes no model"),
    "unknown activation": (
        _set("solved", "activations", 0, "phi", to="__import__"),
        "describes no model",
    ),
    "activation without name": (_set("activation", to={}), "needs 'phi'"),
    "activation of text": (_set("activation", "input_scale", to="1"), "not finite numbers"),
    "unknown constant": (_set("solved", "activations", 0, "epsilon", to=1.0), "describes no model"),
    "unknown preprocessing": (_set("preprocess", "hook", to="os.system"), "unknown keys"),
    "preprocessing of a wrong type": (_set("preprocess", "crop_pct", to="1"), "describes no"),
    "no classes": (_set("classes", to=[]), "'classes': expected array of length >= 1"),
    "class numbers": (_set("classes", to=[1, 2]), "'classes': .0.: expected str, got int"),
    "too few classes": (_set("classes", to=["a"]), "1 class names for 7 logits"),
    "negative size": (_set("input_size", to=[-8, 8, 1]), "'input_size': .0.: expected int >= 1"),
    "more parameters": (_set("params", to=5), "the manifest says 5"),
    "parameters as text": (
        _set("params", to="5"),
        "'params': expected int, got str \\('5' given\\)",
    ),
    "parameters as truth": (_set("params", to=True), "'params': expected int, got bool"),
    "huge number": (_set("macs", to=10**400), "an integer is too large|not valid JSON"),
    "accuracy above 1": (_set("metrics", "noise", "top1", to=1.5), "but the counts give 0.3"),
    "other accuracy": (_set("metrics", "noise", "top1", to=0.31), "but the counts give 0.3"),
    "counts above n": (_set("metrics", "noise", "correct1", to=11), "correct1 <= correct5 <= n"),
    "no examples": (_set("metrics", "noise", "n", to=0), "'noise': n: expected int >= 1"),
    "no loss": (
        _set("metrics", "noise", "loss", to=None),
        "'noise': loss: expected float, got null",
    ),
    "metrics as list": (_set("metrics", to=[1]), "'metrics': expected object, got array"),
    "no files": (_set("files", to={}), "'files': expected at least one file"),
    "no digest": (
        _set("files", "card.md", "sha256", to=""),
        "'card.md': sha256: expected str matching .*0-9a-f",
    ),
    "digest missing": (
        lambda v: v["files"]["card.md"].pop("sha256"),
        "'card.md': object missing required field sha256",
    ),
    "negative bytes": (
        _set("files", "card.md", "bytes", to=-1),
        "'card.md': bytes: expected int >= 0",
    ),
    "file outside": (
        lambda v: v["files"].update({"../x": v["files"]["card.md"]}),
        "unsafe part '..'",
    ),
    "names equal but for case": (
        lambda v: v["files"].update({"CARD.md": v["files"]["card.md"]}),
        "differ in case only",
    ),
    "no licence": (_set("licence", to=""), "'licence': expected str of length >= 1"),
    "versions as numbers": (_set("versions", to={"jax": 1}), "'jax': expected str, got int"),
}


@pytest.mark.fault("A6", "A22")
@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_a_bad_manifest_is_refused_in_one_sentence(checkpoints, case):
    change, match = BAD_MANIFESTS[case]
    path = checkpoints / ID / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ManifestError, match=match) as error:
        load_pretrained(f"dir:{checkpoints / ID}")
    assert "\n" not in str(error.value)


@pytest.mark.fault("A22")
@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"", "not valid JSON"),
        (b"[]", "holds a JSON list"),
        (b"\xff\xfe", "not valid JSON"),
        (b'{"format_version": 1, "format_version": 1}', "a key is given twice"),
        (b'{"format_version": NaN}', "NaN is not a JSON number"),
        (b'{"format_version": -Infinity}', "not a JSON number"),
        (b'{"loss": 1e999}', "a number is too large"),
        (b"[" * 200_000, "nested too deep"),
        (b" " * (MAX_BYTES + 1), "larger than"),
        (b'{"a": ' * 3000 + b"1" + b"}" * 3000, "nested too deep|format_version"),
    ],
)
def test_text_that_is_no_manifest_is_refused(tmp_path, text, match):
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(ManifestError, match=match):
        read_manifest(tmp_path)


def test_random_damage_of_a_manifest_raises_only_our_error(checkpoints):
    path = checkpoints / ID / "manifest.json"
    original = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(1000):
        content = bytearray(original)
        for position in generator.integers(0, len(content), generator.integers(1, 4)):
            content[position] = generator.integers(0, 256)
        path.write_bytes(content)
        try:
            read_manifest(checkpoints / ID)
        except ManifestError as error:
            assert str(path) in str(error)


def test_unknown_fields_are_left_out(checkpoints):
    path = checkpoints / ID / "manifest.json"
    values = {**json.loads(path.read_text()), "release": {"url": "https://example.org"}}
    path.write_text(json.dumps(values))
    manifest = load_pretrained(f"dir:{checkpoints / ID}").manifest
    assert "release" not in dataclasses.asdict(manifest)


@pytest.mark.fault("A17")
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a/../b", "a//b", "C:\\x", "C:x", "\\\\host\\x", "a\\b",
     "a\0b", "a b", "dot.", "-x", ".hidden", "CON", "con.txt", "weights/NUL", "lpt1", "é",
     "x" * 201, None, 3],
)  # fmt: skip
def test_unsafe_file_names_are_refused(name):
    assert file_name_problem(name)


@pytest.mark.parametrize("name", ["card.md", "weights/_METADATA", "weights/ocdbt.process_0/d/0a1b"])
def test_names_that_are_written_are_safe(name):
    assert not file_name_problem(name)


@pytest.mark.fault("A6")
@pytest.mark.parametrize("digest", [None, {}, {"bytes": 1}, {"bytes": 1, "sha256": "ab"}])
def test_an_index_entry_without_a_whole_digest_is_refused(tmp_path, digest):
    values = {"format_version": 1, "weights": {ID: {"manifest": digest}}}
    with pytest.raises(ManifestError, match=rf"index.json: entry '{ID}': manifest"):
        parse_index(json.dumps(values).encode(), "index.json", tmp_path)
