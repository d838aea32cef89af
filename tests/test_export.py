"""An exported weight computes the same without JAX: in NumPy here, in PyTorch where it is."""

import ast
import importlib.util
import json
import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.weights import ARCH, CLASSES, ID, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.classifier import Classifier, Provenance
from zoo.data import Preprocessing
from zoo.export import ExportError, export
from zoo.export.runner import _FORMULAS
from zoo.models import create_model, merge, split, variant_of
from zoo.pretrained import load_pretrained
from zoo.shaping import ShapedActivation
from zoo.shaping.pointwise import ACTIVATIONS

TORCH_PYTHON = os.environ.get("ZOO_TEST_TORCH_PYTHON", sys.executable)
HAS_TORCH = TORCH_PYTHON != sys.executable or importlib.util.find_spec("torch") is not None

# Basic blocks and bottlenecks, both stems, strides, with and without per-location normalisation.
MODELS = {
    "he_relu": ("vanilla_resnet18_he_relu", {"stem": "cifar"}),
    "leaky": ("vanilla_resnet34_tat_lrelu", {"stem": "imagenet", "in_channels": 1}),
    "bottleneck": ("vanilla_resnet50_dks_softplus", {"stem": "cifar"}),
    "mixed": ("vanilla_resnet34_tat_mixed", {"stem": "cifar"}),
    "dirac": ("diracnet28_5", {"depth": 10}),
    "ncrelu": ("diracnet28_5_v1", {"depth": 10}),
    "groups": ("repvgg_b1g2", {}),
    "restricted": ("vanilla_resnet18_tat_lrelu", {"stem": "cifar", "update_scale": 0.3}),
    "no norm": ("vanilla_resnet18_tat_tanh", {"stem": "imagenet", "input_norm": "none"}),
}


def _random(arch, preprocess, dtype=np.float32, **options):
    """Random weights in every tap, so that a wrong padding or stride shows."""
    model = create_model(arch, num_classes=5, width=0.0625, abstract=True, **options)
    graphdef, abstract = split(model)
    generator = np.random.default_rng(4)
    params = {}
    for name, leaf in abstract.items():
        if name.endswith((".var", "_scale", ".scale")):
            params[name] = jnp.asarray(generator.uniform(0.5, 1.5, leaf.shape), dtype)
            continue
        scale = (1.5 / max(4, np.prod(leaf.shape[:-1]))) ** 0.5
        params[name] = jnp.asarray(generator.normal(size=leaf.shape) * scale, dtype)
    provenance = Provenance(arch, variant_of(arch).shaping)
    return Classifier(merge(graphdef, params), preprocess, tuple("abcde"), provenance)


def _model(case):
    arch, options = MODELS[case]
    n = options.get("in_channels", 3)
    mean, std = (0.4, 0.5, 0.6)[:n], (0.2, 0.25, 0.3)[:n]
    return _random(arch, Preprocessing((24, 16), mean=mean, std=std, channels=n), **options)


def _images(model):
    shape = (3, *model.preprocess.image_size, model.config.in_channels)
    return np.random.default_rng(5).integers(0, 256, shape, np.uint8)


def test_one_file_holds_every_bit_and_what_belongs_to_it(checkpoints, tmp_path):
    path = export(ID, tmp_path / "one.safetensors")
    expected = tiny_model().split()[1]
    arrays = load_file(path)
    assert arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], expected[name]) for name in expected)
    with safe_open(path, "np") as file:
        about = json.loads(file.metadata()["weight"])
    assert (about["id"], about["arch"], about["classes"]) == (ID, ARCH, list(CLASSES))
    assert Preprocessing.from_dict(about["preprocess"]) == tiny_model().preprocess
    assert ShapedActivation(**about["activation"]) == tiny_model().network.activations[0]
    rebuilt = create_model(about["arch"], **about["overrides"], abstract=True)
    assert split(rebuilt)[1].keys() == arrays.keys()


def test_one_file_is_read_with_numpy_alone(checkpoints, tmp_path):
    path = export(ID, tmp_path / "one.safetensors")
    code = (
        "import sys\n"
        "from safetensors.numpy import load_file\n"
        f"arrays = load_file({str(path)!r})\n"
        "print(sum(array.size for array in arrays.values()))\n"
        "assert not {'jax', 'flax', 'orbax', 'torch', 'zoo'} & set(sys.modules)\n"
    )
    run = [sys.executable, "-c", code]
    result = subprocess.run(run, check=True, capture_output=True, text=True, timeout=60)
    assert int(result.stdout) == load_pretrained(ID).manifest.params


def test_equal_weights_give_equal_files(checkpoints, tmp_path):
    first, second = (export(ID, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_narrow_weights_keep_their_values_for_a_reader_without_bfloat16(tmp_path):
    model = _random(ARCH, Preprocessing((32, 32)), jnp.bfloat16, param_dtype="bfloat16")
    arrays = load_file(export(model, tmp_path / "narrow.safetensors"))
    for name, expected in model.split()[1].items():
        assert expected.dtype == jnp.bfloat16 and arrays[name].dtype == np.float32
        assert np.array_equal(arrays[name], expected)


def _convolve(x, kernel, stride, margin, groups=1):
    """[n, c, h, w] with [out, in / groups, k, k], group by group and tap by tap."""
    if groups > 1:
        halves = zip(np.split(x, groups, 1), np.split(kernel, groups), strict=True)
        return np.concatenate([_convolve(one, k, stride, margin) for one, k in halves], 1)
    size = kernel.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin)))
    height, width = ((n + 2 * margin - size) // stride + 1 for n in x.shape[2:])
    return sum(
        np.einsum(
            "nchw,oc->nohw",
            padded[:, :, i : i + stride * height : stride, j : j + stride * width : stride],
            kernel[:, :, i, j],
        )
        for i in range(size)
        for j in range(size)
    )


def _max_pool(x, size, stride, margin):
    rim = ((0, 0), (0, 0), (margin, margin), (margin, margin))
    padded = np.pad(x, rim, constant_values=-np.inf)
    height, width = ((n + 2 * margin - size) // stride + 1 for n in x.shape[2:])
    taps = [
        padded[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
        for i in range(size)
        for j in range(size)
    ]
    return np.max(taps, axis=0)


def _phi(activation, x):
    slope = () if activation.negative_slope is None else (activation.negative_slope,)
    value = ACTIVATIONS[activation.phi].jet(
        activation.input_scale * x + activation.input_shift, *slope
    )[0]
    shaped = activation.output_scale * (value + activation.output_shift)
    linear = activation.linear_channels(x.shape[1])[:, None, None]
    return np.where(linear, activation.linear_scale * x, shaped)


def _in_numpy(folder, images):
    """The network from the exported folder only, in float64."""
    state = load_file(folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", "np") as file:
        about = json.loads(file.metadata()["weight"])
    activation = ShapedActivation(**about["activation"])
    pixels = images / 255 - about["preprocess"]["mean"]
    x = (pixels / about["preprocess"]["std"]).transpose(0, 3, 1, 2)
    for index, (kind, *args) in enumerate(about["layers"]):
        weight, bias = (state.get(f"{index}.{name}") for name in ("weight", "bias"))
        if kind == "PerLocation":
            x = np.concatenate([x, np.ones_like(x[:, :1])], 1)
            x = x / np.sqrt((x * x).mean(1, keepdims=True))
        elif kind == "Conv2d":
            assert weight.shape == (args[1], args[0] // args[6], args[2], args[2])
            x = _convolve(x, weight, args[3], args[4], args[6]) + bias[:, None, None]
        elif kind == "Linear":
            x = x @ weight.T + bias
        elif kind == "MaxPool2d":
            x = _max_pool(x, *args)
        elif kind == "AdaptiveAvgPool2d":
            x = x.mean((2, 3), keepdims=True)
        elif kind == "NCReLU":
            x = np.concatenate([np.maximum(x, 0), np.minimum(x, 0)], 1)
        elif kind == "Flatten":
            x = x.reshape(len(x), -1)
        else:
            x = _phi(activation, x)
    return x


def _close(got, model, images):
    expected = np.asarray(model(model.preprocess(images)))
    # float32 through up to 50 layers against float64, relative to the largest logit.
    np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("case", MODELS)
def test_the_exported_chain_computes_the_same_in_numpy(case, tmp_path):
    model = _model(case)
    images = _images(model)
    _close(_in_numpy(export(model, tmp_path / "t", format="torch"), images), model, images)


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is absent; name one by ZOO_TEST_TORCH_PYTHON")
@pytest.mark.parametrize("case", MODELS)
def test_the_exported_program_computes_the_same_in_torch(case, tmp_path):
    model = _model(case)
    images = _images(model)
    folder = export(model, tmp_path / "t", format="torch")
    np.save(tmp_path / "images.npy", images.transpose(0, 3, 1, 2))
    code = (
        "import numpy, torch; from run import logits\n"
        f"images = torch.from_numpy(numpy.load({str(tmp_path / 'images.npy')!r}))\n"
        f"numpy.save({str(tmp_path / 'logits.npy')!r}, logits(images).numpy())\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([TORCH_PYTHON, "-c", code], cwd=folder, check=True, timeout=120, env=env)
    _close(np.load(tmp_path / "logits.npy"), model, images)


@pytest.mark.skipif(not HAS_TORCH, reason="PyTorch is absent; name one by ZOO_TEST_TORCH_PYTHON")
def test_every_activation_is_the_same_in_torch():
    x = np.linspace(-6, 6, 241, dtype=np.float32)
    lines = [f"    {name!r}: ({text.format(slope=0.3)})," for name, text in _FORMULAS.items()]
    body = "\n".join(lines)
    code = (
        "import json, torch; from torch import nn\n"
        f"x = torch.tensor({x.tolist()})\nvalues = {{\n{body}\n}}\n"
        "print(json.dumps({name: value.tolist() for name, value in values.items()}))\n"
    )
    run = [TORCH_PYTHON, "-c", code]
    result = subprocess.run(run, check=True, capture_output=True, text=True, timeout=120)
    for name, values in json.loads(result.stdout).items():
        slope = (0.3,) if name == "leaky_relu" else ()
        expected = np.asarray(ACTIVATIONS[name].value(jnp.asarray(x), *slope))
        np.testing.assert_allclose(values, expected, atol=2e-6, rtol=2e-6, err_msg=name)


def test_every_activation_has_a_formula_and_every_program_is_python(tmp_path):
    assert _FORMULAS.keys() == ACTIVATIONS.keys()
    for case in MODELS:
        text = (export(_model(case), tmp_path / case, format="torch") / "run.py").read_text()
        tree = ast.parse(text)
        code = [line for line in text.splitlines() if line.strip() and '"""' not in line]
        assert "pickle" not in text and len(code) <= 20 and max(map(len, code)) <= 100
        assert [n.name for n in tree.body if isinstance(n, ast.FunctionDef)] == ["logits"]


def test_shortcuts_are_no_chain(tmp_path):
    network = create_model("rescaled_resnet50_dks_tanh", abstract=True)
    with pytest.raises(ValueError, match="adds two live paths; widen=True gives .* is ReLU"):
        export(Classifier(network, Preprocessing((32, 32))), tmp_path / "t", format="torch")
    with pytest.raises(TypeError, match="a ResNet does not say how images are brought to it"):
        export(network, tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("E15")
def test_an_existing_path_is_kept(checkpoints, tmp_path):
    (tmp_path / "taken").write_text("mine")
    for format in ("safetensors", "torch"):
        with pytest.raises(ExportError, match="exists; remove it or give another --out"):
            export(ID, tmp_path / "taken", format=format)
    with pytest.raises(ExportError, match="cannot be written .*give --out"):
        export(ID, tmp_path / "taken" / "below")
    with pytest.raises(ExportError, match="format 'pickle'; allowed: safetensors, huggingface"):
        export(ID, tmp_path / "x", format="pickle")
    assert (tmp_path / "taken").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.fault("E15")
def test_a_failed_export_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.export.forms.runner_text", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export(_model("he_relu"), tmp_path / "t", format="torch")
    assert list(tmp_path.iterdir()) == []
