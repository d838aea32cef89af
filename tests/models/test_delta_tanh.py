"""Delta-orthogonal tanh networks: the constants of the edge of chaos, and what they keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.cases import small
from tests.models.quick import quick_model
from zoo.models import create_model, merge, split
from zoo.models.delta_tanh import CircularConv, DeltaTanhConfig, edge_of_chaos
from zoo.models.layers import he_normal
from zoo.shaping import EOC
from zoo.shaping.kernel_maps import c_map

PUBLISHED = {
    16: (1.115381, 2.369e-4),
    100: (1.019711, 1.258e-6),
    1000: (1.001997, 1.325e-9),
    10000: (1.000200, 1.333e-12),
}
"""Depth -> sigma_w^2 and sigma_b^2 at q* = 1 / depth, by Gauss-Hermite quadrature of 201 nodes."""


@pytest.mark.parametrize("depth", PUBLISHED)
def test_variances_for_a_depth(depth):
    weight, bias = DeltaTanhConfig(depth, input_norm="none").variances
    assert weight == pytest.approx(PUBLISHED[depth][0], abs=5e-7)
    assert bias == pytest.approx(PUBLISHED[depth][1], rel=5e-4)  # four digits


@pytest.mark.parametrize("q", [1.0, 0.1, 1e-3])
def test_variances_keep_q_and_the_mean_squared_slope(q):
    """Monte Carlo with a million numbers: standard errors are below 2e-3."""
    weight, bias = edge_of_chaos("tanh", q)
    x = np.sqrt(q) * np.random.default_rng(0).normal(size=1_000_000)
    assert weight * np.mean(np.cosh(x) ** -4.0) == pytest.approx(1, abs=5e-3)
    assert weight * np.mean(np.tanh(x) ** 2) + bias == pytest.approx(q, rel=1e-2)


def test_depth_and_width_have_bounds():
    with pytest.raises(ValueError, match="depth=0; give a whole number.*width=0; give"):
        create_model("delta_tanh16", depth=0, width=0)


def test_a_hundred_layers_keep_angles_and_gradients():
    """A layer is nearly an isometry of its inputs about q* = 1 / L, forward and backward."""
    model = quick_model("delta_tanh100", **small("delta_tanh100", width=1.0, scan=True))
    graphdef, params = split(model.stages[0])
    x = 0.1 * jax.random.normal(jax.random.key(0), (2, 4, 4, 32))

    @jax.jit
    def run(params, x):
        y, pull_back = jax.vjp(merge(graphdef, params), x)
        return y, pull_back(jnp.ones_like(y) / 32)[0]

    y, gradient = run(params, x)
    norms = np.linalg.norm(np.asarray([x, y]).reshape(2, 2, -1), axis=-1)
    cosines = [float(jnp.vdot(a[0], a[1]) / n.prod()) for a, n in zip((x, y), norms, strict=True)]
    assert cosines[1] == pytest.approx(cosines[0], abs=0.1)
    assert norms[1] == pytest.approx(norms[0], rel=0.15)
    sent = np.linalg.norm(np.ones_like(x) / 32)
    assert float(jnp.linalg.norm(gradient)) == pytest.approx(float(sent), rel=0.25)


def test_padding_continues_an_image_with_its_other_side():
    """A convolution commutes with rolling the image; zeros beside it would not."""
    options = {"dtype": "float32", "param_dtype": "float32", "rngs": nnx.Rngs(0)}
    conv = CircularConv(3, 4, 3, initializer=he_normal, **options)
    x = jax.random.normal(jax.random.key(0), (1, 5, 6, 3))
    rolled = jnp.roll(conv(x), (2, 3), axis=(1, 2))
    np.testing.assert_allclose(conv(jnp.roll(x, (2, 3), axis=(1, 2))), rolled, atol=1e-5)


def test_fifty_relu_layers_on_the_edge_of_chaos_bring_orthogonal_inputs_to_one_direction():
    """The recursion of the closed form, and the network's own activation: cosine 0.98786."""
    relu, closed, mapped = EOC().solve(50), 0.0, 0.0
    for _ in range(50):
        closed = ((1 - closed**2) ** 0.5 + (np.pi - np.arccos(closed)) * closed) / np.pi
        mapped = float(c_map(relu, mapped))
    assert closed == pytest.approx(0.98786, abs=5e-6)
    assert mapped == pytest.approx(closed, abs=1e-9)
