"""Inspection tells edge of chaos from TAT as the theory says, and its page draws in a browser."""

import functools
import json
import re
import shutil
import subprocess

import pytest

from zoo.cli import main
from zoo.inspection import inspect
from zoo.inspection.report import STANDARD_ERRORS

HERE = "tests.inspection.networks"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None
)
EOC_AFTER_50 = 0.9878619449  # the ReLU map of Cho & Saul 2009, iterated 50 times from 0


@functools.cache
def report(name):
    return inspect(f"{HERE}:{name}", draws=8)


@pytest.mark.slow  # two networks, eight draws each
@pytest.mark.parametrize(("name", "final"), [("eoc", EOC_AFTER_50), ("tat", 0.9)])
def test_cosines_follow_the_maps(name, final):
    found = report(name)
    assert found.depths == list(range(51))
    assert found.cosines[0].predicted[-1] == pytest.approx(final, abs=1e-6)
    # At the end only: the largest of 50 depths over 8 draws passes any fixed bound now and then.
    for curve in found.cosines:
        assert abs(curve.mean[-1] - curve.predicted[-1]) < STANDARD_ERRORS * curve.error[-1]
    assert all(
        curve.start == pytest.approx(c, abs=1e-6)
        for curve, c in zip(found.cosines, (0, 0.5, 0.9), strict=True)
    )
    assert found.q.predicted[-1] == pytest.approx(1, abs=1e-6)
    assert ("collapse" in found.verdict[0]) == (name == "eoc")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eoc", "tat"])
def test_jacobians_have_the_slope_of_the_map(name):
    whole, block, _ = report(name).spectra
    for one in (whole, block):
        assert one.predicted == pytest.approx(1, abs=1e-9)
        assert abs(one.mean_square - 1) < STANDARD_ERRORS * one.error


def test_updates_are_gradients_over_weights():
    for layer in report("normalised").layers:
        assert layer.update == pytest.approx(layer.gradient / layer.weight)


def test_a_network_without_maps_is_measured_and_says_why():
    found = report("normalised")
    assert "LayerNorm" in found.refusal and found.refusal in found.verdict[-1]
    assert found.cosines[0].predicted == [None] * len(found.depths)


def test_blocks_of_a_scan_are_places_of_their_own():
    found = report("scanned")
    assert found.depths == [0, 1, 2, 3]
    assert (found.draws, found.weights) == (0, "these weights")
    assert "only draw" in found.verdict[-1]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pytest.importorskip("plotly", reason="the page needs plotly")
    folder = tmp_path_factory.mktemp("page")
    assert main(["inspect", f"{HERE}:scanned", "--out", str(folder)]) == 0
    return folder


def test_the_page_comes_with_pictures_and_numbers(page):
    names = {path.stem for path in page.glob("*.png")}
    assert {"cosines", "q", "c_maps", "signals", "spectra"} <= names
    assert json.loads((page / "report.json").read_text())["name"] == f"{HERE}:scanned"
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
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    body = dom[dom.rindex("</script><h1>") :]
    for key in ("cosines", "q", "c_maps", "signals", "spectra"):
        start = body.index(f'id="{key}"')
        assert "<svg" in body[start : start + 5000], key
    assert len(re.findall(r'class="[^"]*(?:js-line|point)"[^>]*', body)) > 20


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("no.such.module:f", "cannot import no.such.module:f"),
        ("vanilla_resnet51_tat_lrelu", "vanilla_resnet51_tat_lrelu"),
    ],
)
def test_what_cannot_be_found_is_said_in_one_line(capsys, model, sentence):
    pytest.importorskip("plotly", reason="the command needs plotly")
    assert main(["inspect", model]) == 2
    assert sentence in capsys.readouterr().err


def test_a_missing_library_is_named(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["inspect", f"{HERE}:scanned"]) == 2
    assert "flax-vanilla-zoo[inspect]" in capsys.readouterr().err
