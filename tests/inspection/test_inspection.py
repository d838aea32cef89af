"""Inspection tells edge of chaos from TAT as the theory says, and its page draws in a browser."""

import functools
import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
from flax import nnx

import zoo
from tests.inspection import networks
from zoo.cli import main
from zoo.inspection import inspect, predict
from zoo.inspection.backward import _batch
from zoo.inspection.subject import Subject

HERE = "tests.inspection.networks"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None
)


def relu_map(c, times):
    """The ReLU map of Cho & Saul 2009."""
    for _ in range(times):
        c = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
    return c


@functools.cache
def report(name):
    return inspect(f"{HERE}:{name}", draws=8)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the command writes for eight layers of EOC ReLU."""
    pytest.importorskip("plotly", reason="the page needs plotly")
    folder = tmp_path_factory.mktemp("page")
    assert main(["inspect", f"{HERE}:eoc", "--draws", "3", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def numbers(page):
    return json.loads((page / "report.json").read_text())


@pytest.mark.parametrize(
    ("method", "depth", "final"),
    [(zoo.EOC(), 50, 0.9878619449), (zoo.TAT(eta=0.9), 50, 0.9)],
    ids=["eoc", "tat"],
)
def test_chains_of_fifty_end_where_theory_says(method, depth, final):
    phi = method.activation
    chain = nnx.eval_shape(lambda: networks.Chain(depth, 16, phi))
    solved = zoo.shape(chain, method, (1, 16))
    assert predict(solved, (1, 16)).kernels(0.0)[-1].c == pytest.approx(final, abs=1e-8)


@pytest.mark.parametrize(
    ("model", "final"),
    [("vanilla_resnet50_eoc_relu", relu_map(0.0, 49)), ("vanilla_resnet50_tat_lrelu", 0.9)],
)
def test_networks_of_the_zoo_end_where_theory_says(model, final):
    found = predict(zoo.create_model(model, abstract=True), (1, 1, 1, 3))
    kernels = found.kernels(np.array([0.0, 1.0]))
    assert found.taps[-1].depth == 49
    assert kernels[-1].c == pytest.approx([final, 1.0], abs=1e-8)
    assert all(one.q == pytest.approx(1, abs=1e-8) for one in kernels)
    assert round(relu_map(0.0, 49), 5) == 0.98744


def test_unshaped_relus_halve_the_q_value():
    layers = [part for _ in range(4) for part in (nnx.Linear(8, 8, rngs=nnx.Rngs(0)), nnx.relu)]
    network = nnx.Sequential(*layers)
    found = predict(network, (1, 8))
    last = found.kernels(0.0, q=3.0)[-1]
    assert last.q == pytest.approx(3 / 2**4)
    assert last.c == pytest.approx(relu_map(0.0, 4))
    assert found.slope(found.taps[-1]) is None


def test_the_report_holds_predictions_and_measurements(numbers):
    assert numbers["depths"] == list(range(9))
    for curve, start in zip(numbers["cosines"], (0, 0.5, 0.9), strict=True):
        assert curve["start"] == pytest.approx(start, abs=1e-6)
        expected = [relu_map(curve["start"], depth) for depth in range(9)]
        assert curve["predicted"] == pytest.approx(expected, abs=1e-9)
        assert curve["mean"] == pytest.approx(expected, abs=0.15)  # widths 32 and 16, 3 draws
    assert numbers["q"]["predicted"] == pytest.approx([1] * 9, abs=1e-6)
    assert "The sum of 1 / width over layers is 0.41" in numbers["verdict"][-1]


def test_singular_values_are_those_of_the_jacobian(numbers):
    (network, shape), name = networks.eoc(), "input to output"
    layers = [kernel.get_value() for kernel in (one.kernel for one in network.layers)]
    values = next(one for one in numbers["spectra"] if one["name"] == name)["values"]
    assert np.shape(values) == (3, 32)
    # Draw 0 has the weights that the network was shaped with.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, *shape[1:]))[0]
    state = math.sqrt(32) * x / np.linalg.norm(x)
    jacobian = np.eye(32)
    for kernel in layers:
        state = state @ np.asarray(kernel, np.float64)
        gain = math.sqrt(2) * (state > 0)
        jacobian, state = jacobian @ np.asarray(kernel, np.float64) * gain, state * gain
    exact = np.linalg.svd(jacobian, compute_uv=False)
    assert values[0] == pytest.approx(exact, abs=1e-4)


def test_updates_are_gradients_over_weights(numbers):
    assert len(numbers["layers"]) == 8
    for layer in numbers["layers"]:
        assert layer["update"] == pytest.approx(layer["gradient"] / layer["weight"])


def test_norms_are_those_of_a_backward_pass_by_hand(numbers):
    network, (_, width) = networks.eoc()
    kernels = [np.asarray(one.kernel.get_value(), np.float64) for one in network.layers]
    rng = np.random.default_rng(0)
    labels, states, slopes = rng.integers(0, 2**20, 16) % width, [], []
    x = rng.normal(size=(16, width))
    for kernel in kernels:
        states.append(x)
        slopes.append(math.sqrt(2) * (x @ kernel > 0))
        x = x @ kernel * slopes[-1]
    gradient = (np.exp(x) / np.exp(x).sum(1, keepdims=True) - np.eye(width)[labels]) / 16
    by_tap, by_weight = [], []
    for state, kernel, slope in zip(*map(reversed, (states, kernels, slopes)), strict=True):
        by_weight.insert(0, rms(state.T @ (gradient * slope)))
        gradient = gradient * slope @ kernel.T
        by_tap.insert(0, rms(gradient))
    assert numbers["activation_rms"] == pytest.approx(list(map(rms, states)), rel=1e-5)
    assert numbers["gradient_rms"] == pytest.approx(by_tap, rel=1e-4)  # float32
    assert [one["gradient"] for one in numbers["layers"]] == pytest.approx(by_weight, rel=1e-4)
    assert [one["weight"] for one in numbers["layers"]] == pytest.approx(list(map(rms, kernels)))


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


@pytest.mark.parametrize(("stem", "size", "count"), [("imagenet", 224, 5), ("cifar", 32, 16)])
def test_a_batch_of_large_images_is_smaller(stem, size, count):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    network = zoo.create_model("vanilla_resnet18_eoc_relu", stem=stem, abstract=True)
    images, labels, label = _batch(Subject("digits", network, (1, 1, 1, 3), None), "digits", 0)
    assert (images.shape, len(labels)) == ((count, size, size, 3), count)
    assert label == f"{count} images of digits test"


def test_a_network_without_maps_is_measured_and_says_why():
    found = inspect(f"{HERE}:normalised", draws=2)
    assert "LayerNorm" in found.refusal and found.refusal in found.verdict[-1]
    assert found.cosines[0].predicted == [None] * len(found.depths)


def test_nothing_is_predicted_beyond_what_is_taken_for_granted():
    found = inspect(f"{HERE}:pooled", draws=2)
    predicted = found.cosines[0].predicted
    assert None not in predicted[:2] and set(predicted[2:]) == {None}
    (pooling,) = found.to_json()["assumptions"]
    assert pooling["kind"] == "pooling" and "networks.py:" in pooling["where"]
    (sentence,) = [one for one in found.verdict if one.startswith("Taken for granted")]
    assert pooling["cure"] in sentence


def test_blocks_of_a_scan_are_places_of_their_own():
    found = report("scanned")
    assert found.depths == [0, 1, 2, 3]
    assert (found.draws, found.weights) == (0, "these weights")
    assert "only draw" in found.verdict[-1]


def test_the_page_comes_with_pictures_and_needs_no_network(page):
    names = {path.stem for path in page.glob("*.png")}
    assert names == {"cosines", "q", "c_maps", "signals", "layers", "spectra"}
    text = (page / "index.html").read_text()
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", text)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_browser_draws_the_plots(page, tmp_path):
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --virtual-time-budget=20000"
    ).split()
    address = (page / "index.html").as_uri()
    command = [BROWSER, *flags, f"--user-data-dir={tmp_path}", "--dump-dom", address]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
    sections = dom[dom.rindex("<h1>") :].split("<h2>")[1:]
    assert len(sections) == 6
    for section in sections:
        assert re.search(r'class="[^"]*(?:js-line|point)"', section), section[:80]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("no.such.module:f", "cannot import no.such.module:f"),
        ("vanilla_resnet51_tat_lrelu", "vanilla_resnet51_tat_lrelu"),
        (f"{HERE}:mapped", "use jax.vmap instead of jax.lax.map"),
    ],
)
def test_what_cannot_be_inspected_is_said_in_one_line(capsys, model, sentence):
    pytest.importorskip("plotly", reason="the command needs plotly")
    assert main(["inspect", model]) == 2
    assert sentence in capsys.readouterr().err


def test_a_missing_library_is_named(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["inspect", f"{HERE}:scanned"]) == 2
    assert "flax-vanilla-zoo[inspect]" in capsys.readouterr().err


@pytest.mark.slow  # fifty layers, eight draws
@pytest.mark.parametrize(
    ("name", "final"),
    [
        (f"{HERE}:deep_eoc", relu_map(0.0, 50)),
        (f"{HERE}:deep_tat", 0.9),
        ("vanilla_resnet50_eoc_relu", relu_map(0.0, 49)),
        ("vanilla_resnet50_tat_lrelu", 0.9),
    ],
)
def test_measured_cosines_follow_the_maps(name, final):
    found = inspect(name, draws=8)
    last = found.cosines[0]
    assert last.predicted[-1] == pytest.approx(final, abs=1e-6)
    assert last.mean[-1] == pytest.approx(final, abs=0.03)
    assert "no difference" in found.verdict[-1]
    assert ("collapse" in found.verdict[0]) == (final > 0.95)
