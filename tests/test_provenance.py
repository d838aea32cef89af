"""What a weight says about itself is what was done, whatever its id comes to stand for later."""

import dataclasses
import json

import pytest

from tests.weights import publish_tiny, tiny_model
from zoo.classifier import Classifier, Provenance
from zoo.models import create_model, variant_of
from zoo.models.registry import _VARIANTS
from zoo.pretrained import load_pretrained, write_pretrained
from zoo.pretrained.manifest import MANIFEST
from zoo.pretrained.strict_json import ManifestError
from zoo.shaping import DKS, TAT

SMALL = {"num_classes": 7, "stem": "cifar", "width": 0.0625, "in_channels": 1}
RESCALED = "rescaled_resnet50_tat_lrelu"


def _published(tmp_path, arch, method=None):
    network = create_model(arch, shaping=method, **SMALL)
    methods = variant_of(arch).shaping if method is None else (method,)
    base = tiny_model()
    model = Classifier(network, base.preprocess, base.classes, Provenance(arch, methods))
    folder = tmp_path / f"{arch}.tiny"
    write_pretrained(folder, model, metrics={}, recipe={}, data_terms="noise")
    return folder


def test_another_method_than_the_ids_is_recorded_and_loaded(tmp_path):
    """A DKS tanh network is none of TAT, though its id says so."""
    folder = _published(tmp_path, "vanilla_resnet18_tat_lrelu", DKS("tanh"))
    model = load_pretrained(folder)
    assert model.solved.shaping == (DKS("tanh"),) != (TAT("leaky_relu"),)
    assert (model.manifest.shaping["method"], model.manifest.shaping["activation"]) == (
        "DKS",
        "tanh",
    )
    again = _republished(model, tmp_path / "again")
    assert again["shaping"] == json.loads((folder / MANIFEST).read_text())["shaping"]


def _republished(model, folder):
    folder.mkdir()
    bare = dataclasses.replace(model.provenance, manifest=None)
    target = folder / f"{model.provenance.arch}.other"
    options = {"metrics": {}, "recipe": {}, "data_terms": "noise"}
    write_pretrained(target, dataclasses.replace(model, provenance=bare), **options)
    return json.loads((target / MANIFEST).read_text())


def _with_other_default(monkeypatch):
    variant = variant_of(RESCALED)
    other = dataclasses.replace(variant.config, shortcut_weight=0.7)
    monkeypatch.setitem(_VARIANTS, RESCALED, dataclasses.replace(variant, config=other))


def test_a_weight_keeps_its_options_when_its_id_changes(tmp_path, monkeypatch):
    folder = _published(tmp_path, RESCALED)
    _with_other_default(monkeypatch)
    assert load_pretrained(folder).config.shortcut_weight == 0.8


def test_a_weight_described_by_differences_is_refused_when_its_id_changes(tmp_path, monkeypatch):
    """As weights were before: its graph is no longer the one it was shaped for."""
    folder = _published(tmp_path, RESCALED)
    values = json.loads((folder / MANIFEST).read_text())
    del values["config"], values["solved"]
    (folder / MANIFEST).write_text(json.dumps(values))
    assert load_pretrained(folder).config.shortcut_weight == 0.8
    _with_other_default(monkeypatch)
    with pytest.raises(ManifestError, match="shaped for another network than this version builds"):
        load_pretrained(folder)


def test_older_manifests_are_written_back_as_they_were(tmp_path):
    model = publish_tiny(tmp_path)
    path = tmp_path / f"{model.provenance.arch}.tiny" / MANIFEST
    values = json.loads(path.read_text())
    del values["config"], values["solved"]
    old = json.dumps(values, indent=1, sort_keys=True) + "\n"
    path.write_text(old)
    assert load_pretrained(path.parent).manifest.to_json() == old
