"""Weights as ONNX files and StableHLO programs answer as the zoo does, in runtimes of their own."""

import dataclasses
import json
import subprocess
import sys
from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_export import MODELS, _images, _model
from zoo.classifier import Classifier
from zoo.cli.weights import _Format
from zoo.data import Preprocessing, open_source
from zoo.export import ExportError, export
from zoo.export.forms import Format
from zoo.models import Layer, create_model
from zoo.pretrained import load_pretrained
from zoo.shaping import ShapedActivation
from zoo.shaping.pointwise import ACTIVATIONS

# A plain chain, one of another activation, and one with shortcuts and BatchNorm.
WEIGHTS = (
    "vanilla_resnet50_tat_lrelu.digits",
    "vanilla_resnet50_dks_softplus.digits",
    "resnet50.digits",
)


def _digits(count):
    source = open_source("digits", "test")
    return np.stack([source[i][0] for i in range(count)])


def _in_onnx_runtime(path, images):
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": images})[0]


def _in_jax_alone(folder, images):
    """By the program's own `run.py`, where nothing of the zoo can be imported."""
    np.save(folder / "images.npy", images)
    code = (
        "import sys, numpy; sys.modules['zoo'] = sys.modules['flax'] = None\n"
        "from run import logits\n"
        "numpy.save('logits.npy', logits(numpy.load('images.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=120)
    return np.load(folder / "logits.npy")


RUNTIMES = {"onnx": _in_onnx_runtime, "stablehlo": _in_jax_alone}


def _same(found, expected):
    # 1e-4 of logits, and of the largest where they are larger than 1: float32 in another order.
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))
    assert np.array_equal(found.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("format", RUNTIMES)
@pytest.mark.parametrize("id", WEIGHTS)
def test_published_weights_answer_alike(id, format, tmp_path):
    model = load_pretrained(id)
    images = _digits(100)
    path = export(model, tmp_path / "out", format=format)
    expected = np.asarray(model.logits(jnp.asarray(images)))
    assert (expected.argmax(-1) == _labels(100)).mean() > 0.9
    _same(RUNTIMES[format](path, images), expected)


def _labels(count):
    source = open_source("digits", "test")
    return np.array([source[i][1] for i in range(count)])


FOLDED = ("dirac", "groups", "restricted")
REFUSED = {"mixed": "a share of its channels linear", "ncrelu": "layers of kind"}


@pytest.mark.parametrize("case", REFUSED)
def test_what_onnx_has_no_layer_for_is_refused(case, tmp_path):
    with pytest.raises(ExportError, match=f"{REFUSED[case]}.*; use stablehlo"):
        export(_model(case), tmp_path / "out.onnx", format="onnx", plain=True)


@pytest.mark.parametrize("case", sorted(MODELS.keys() - REFUSED.keys()))
def test_every_padding_and_stride_is_written_to_onnx(case, tmp_path):
    model = _model(case)
    images = _images(model)
    expected = np.asarray(model.logits(jnp.asarray(images)))
    # What has other kernels than it computes with is written as a plain network.
    path = export(model, tmp_path / "out.onnx", format="onnx", plain=case in FOLDED)
    _same(_in_onnx_runtime(path, images), expected)


def test_every_activation_is_written_to_onnx(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from zoo.export.onnx import _PHI, OPSET, _activation, _Graph

    assert _PHI.keys() == ACTIVATIONS.keys()
    x = np.linspace(-6, 6, 241, dtype=np.float32)
    for name in ACTIVATIONS:
        slope = 0.3 if name == "leaky_relu" else None
        shaped = ShapedActivation(name, 1.1, 0.2, 0.9, -0.1, slope)
        graph = _Graph(onnx, name, (shaped,))
        made = _activation(graph, Layer("activation"), "x")
        value, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        whole = onnx.helper.make_graph(
            graph.nodes, name, [value("x", float32, [241])], [value(made, float32, [241])],
            graph.constants,
        )  # fmt: skip
        proto = onnx.helper.make_model(
            whole, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=9
        )
        runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
        session = runtime.InferenceSession(proto.SerializeToString())
        found = session.run(None, {"x": x})[0]
        expected = np.asarray(shaped(jnp.asarray(x)))
        np.testing.assert_allclose(found, expected, atol=5e-6, rtol=5e-6, err_msg=name)


@pytest.mark.parametrize("format", RUNTIMES)
def test_the_number_of_images_is_free_and_the_manifest_is_inside(format, tmp_path):
    model = load_pretrained(WEIGHTS[0])
    path = export(model, tmp_path / "out", format=format)
    for count in (1, 3):
        assert RUNTIMES[format](path, _digits(count)).shape == (count, 10)
    if format == "stablehlo":
        about = json.loads((path / "weight.json").read_text())
    else:
        onnx = pytest.importorskip("onnx")
        found = onnx.load(path)
        about = json.loads(next(p.value for p in found.metadata_props if p.key == "weight"))
    assert about["id"] == WEIGHTS[0] and about["classes"] == list(model.classes)


def test_the_command_knows_every_form():
    assert get_args(_Format) == get_args(Format)


def test_what_onnx_is_not_written_with_is_refused_by_name(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="onnx is not installed")
    network = create_model("vanilla_resnet18_tat_tanh", num_classes=2, width=0.0625, stem="cifar")
    model = Classifier(network, Preprocessing((32, 32)), ("a", "b"))
    monkeypatch.delitem(sys.modules["zoo.export.onnx"]._LAYERS, "mean")
    with pytest.raises(ExportError, match="layers of kind mean, .*; use stablehlo"):
        export(model, tmp_path / "out.onnx", format="onnx")
    model = Classifier(
        create_model("diracnet18", num_classes=2, width=0.0625), Preprocessing((32, 32))
    )
    with pytest.raises(ExportError, match="use stablehlo"):
        export(dataclasses.replace(model, classes=("a", "b")), tmp_path / "o.onnx", format="onnx")
    assert not list(tmp_path.iterdir())


def test_without_onnx_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"pip install 'flax-vanilla-zoo\[onnx\]'"):
        export(WEIGHTS[0], tmp_path / "out.onnx", format="onnx")
    assert not list(tmp_path.iterdir())
