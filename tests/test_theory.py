"""Theory against practice: the page says what was measured, and what was measured holds."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import stdtrit

from tests.conftest import REPOSITORY
from tools.pages import theory as PAGE
from tools.pages.__main__ import main
from tools.theory import measuring as MEASURING
from zoo.models import create_model
from zoo.models.layers import scaled_uniform_orthogonal
from zoo.shaping import DKS, EOC, TAT

RESULTS = REPOSITORY / "docs" / "theory.json"


def allowed(draws):
    """As rare for Student's t as four standard errors are for normal ones."""
    return stdtrit(draws - 1, 1 - 3.2e-5)


def test_the_page_is_what_the_checked_in_results_say():
    assert main(["theory", "--check"]) == 0


def test_another_number_makes_the_check_fail(tmp_path, capsys):
    (tmp_path / "docs").mkdir()
    shutil.copy(RESULTS, tmp_path / "docs" / "theory.json")
    where = ["theory", "--root", str(tmp_path)]
    assert main([*where, "--json"]) == 0
    written = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert written["changed"] == ["theory_depth", "theory_bias", "theory_spread", "theory.md"]
    assert main([*where, "--check"]) == 0
    results = json.loads(RESULTS.read_text())
    results["rows"][0][6] += 1
    (tmp_path / "docs" / "theory.json").write_text(json.dumps(results))
    assert main([*where, "--check"]) == 1
    assert "theory.md; run python" in capsys.readouterr().out


def test_every_network_of_the_table_was_measured():
    rows = PAGE._rows(json.loads(RESULTS.read_text()))
    networks = {(row.depth, row.w) for row in rows}
    assert networks == {
        (n, w) for n in (18, 34, 50, 101, 152, 200) for w in (0, 0.3, 0.5, 0.8, 0.95)
    }
    known = {(row.method, row.activation, row.depth, row.w) for row in rows}
    missing = {
        (type(method).__name__, method.activation, *network)
        for method in MEASURING.methods()
        for network in networks
    } - known
    # Leaky ReLU needs depth to reach 0.9, the more so the heavier the shortcuts are.
    assert {(name, phi) for name, phi, *_ in missing} <= {("TAT", "leaky_relu"), ("DKS", "relu")}
    assert len(known) > 900 and ("TAT", "leaky_relu", 50, 0.0) in known


def test_bias_and_limit_are_those_of_a_line_in_1_over_width():
    widths = (1.0, 2.0, 4.0)
    means = tuple(0.7 + 0.01 + 0.3 / width for width in widths)
    row = PAGE.Row("TAT", "tanh", 50, 0.0, 0.5, 0.7, widths, means, (0.01, 0.02, 0.03))
    assert row.apart == pytest.approx([31, 8, (0.01 + 0.3 / 4) / 0.03])
    (left, error), (bias, _) = row.fit
    assert (left, bias) == pytest.approx((0.01, 0.3))
    assert row.limit == pytest.approx(0.01 / error)
    draws = np.random.default_rng(0).normal(means, row.errors, size=(4000, 3))
    fits = [
        PAGE.Row("TAT", "tanh", 50, 0.0, 0.5, 0.7, widths, tuple(one), row.errors).fit[0][0]
        for one in draws.tolist()
    ]
    assert np.std(fits) == pytest.approx(error, rel=0.05)  # 4,000 samples: 1.1 %


@pytest.mark.parametrize("sizes", [(6, 6), (6, 10), (10, 6)])
def test_a_layer_drawn_where_it_acts_has_the_law_of_the_whole_matrix(sizes):
    draws, rng = 20_000, np.random.default_rng(0)
    x = rng.normal(size=(3, sizes[0])).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), draws)
    whole = jax.vmap(lambda key: x @ scaled_uniform_orthogonal(key, sizes, jnp.float32))(keys)

    class Layer:
        kernel = np.empty(sizes)

    lazy = MEASURING._drawn_where_it_acts(Layer, rng)(np.tile(x, (draws, 1)))
    moments = []
    for y in (whole, lazy.reshape(draws, 3, -1)):
        relu = np.maximum(np.asarray(y, np.float64), 0)
        inner = relu @ relu.swapaxes(1, 2)
        flat = inner[:, *np.triu_indices(3)]
        moments.append(np.concatenate([flat, flat**2, relu[:, :, 0], relu[:, :, -1]], axis=1))
    difference = np.mean(moments[0], 0) - np.mean(moments[1], 0)
    error = np.sqrt((np.var(moments[0], 0) + np.var(moments[1], 0)) / draws)
    assert np.all(np.abs(difference) < 4 * error)


@pytest.mark.parametrize("network", [(18, 0.0), (18, 0.8)])
def test_cells_of_the_table_are_within_four_standard_errors(network):
    draws = 32
    found = MEASURING.predictions(*network, [EOC(), TAT("tanh"), DKS("softplus")])
    cosines = MEASURING.measure(*network, 8.0, [one.activation for one in found], draws, seed=9)
    error = np.std(cosines, axis=1, ddof=1) / draws**0.5
    apart = (np.mean(cosines, axis=1) - [one.cosines for one in found]) / error
    assert np.all(error < 0.02) and np.all(np.abs(apart) < allowed(draws))


@pytest.mark.slow
@pytest.mark.parametrize("method", [EOC(), TAT(), DKS("softplus")])
def test_whole_matrices_give_the_cosines_of_the_table(method):
    """Weights as `create_model` draws them, at full width."""
    draws, depth = 16, 50
    rows = PAGE._rows(json.loads(RESULTS.read_text()))
    wanted = (type(method).__name__, method.activation, depth, 0.0, 0.0)
    row = next(r for r in rows if (r.method, r.activation, r.depth, r.w, r.start) == wanted)
    images, cosines = jnp.asarray(MEASURING.PIXELS)[:, None, None], []
    for seed in range(draws):
        model = create_model(f"vanilla_resnet{depth}_eoc_relu", shaping=method, seed=seed)
        u, v, _ = np.asarray(model.features(images), np.float64).reshape(3, -1)
        cosines.append(MEASURING._cosine(u, v))
    error = np.hypot(np.std(cosines, ddof=1) / draws**0.5, row.errors[0])
    assert abs(np.mean(cosines) - row.means[0]) < allowed(draws) * error
