"""Optimisers: what decays, what is orthogonalised, that each one learns, and averaged weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.tiny import SOLVED, optimizer, tiny
from zoo.models import Part
from zoo.training import DataConfig, KfacConfig, OptimizerConfig, ScheduleConfig, prepare
from zoo.training.optimizer import (
    OPTIMIZERS,
    decay_mask,
    layer_multipliers,
    make_optimizer,
    update_average,
)

PARAMS = {
    "head.bias": jnp.full((3,), 2.0),
    "head.kernel": jnp.full((4, 3), 2.0),
    "stem.bias": jnp.full((4,), 2.0),
    "stem.kernel": jnp.full((3, 3, 2, 4), 2.0),
}
RATES = {"sgd": 0.05, "adamw": 2e-3, "lamb": 0.01, "muon": 2e-3, "kfac": 0.01, "soap": 2e-3}
BY_GRADIENT = [name for name in OPTIMIZERS if name != "kfac"]
"""What needs the gradient alone."""


def test_only_kernels_decay_by_default():
    mask = decay_mask(PARAMS, OptimizerConfig().decay_pattern)
    assert {name for name, decays in mask.items() if decays} == {"head.kernel", "stem.kernel"}


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_decay_moves_masked_parameters_only(name):
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    config = OptimizerConfig(name, weight_decay=0.1, momentum=0.0, decay_pattern=r"^head\.kernel$")
    transformation = make_optimizer(config)
    updates, _ = transformation.update(zero, transformation.init(PARAMS), PARAMS)
    moved = {key for key, update in updates.items() if float(jnp.abs(update).max()) > 0}
    assert moved == {"head.kernel"}
    if name != "lamb":  # its trust ratio rescales every layer's update
        np.testing.assert_allclose(updates["head.kernel"], -0.1 * 2.0, rtol=1e-6)


def test_muon_orthogonalises_kernels_as_matrices_of_patch_times_outputs():
    shape = (3, 3, 8, 16)
    gradient = {"stem.kernel": jax.random.normal(jax.random.key(0), shape)}
    transformation = make_optimizer(OptimizerConfig("muon", momentum=0.0))
    updates, _ = transformation.update(gradient, transformation.init(gradient), gradient)
    matrix = np.asarray(updates["stem.kernel"]).reshape(-1, shape[-1])
    # Newton-Schulz leaves singular values between 0.5 and 1.5; the scale is 0.2 sqrt(max side).
    values = np.linalg.svd(matrix, compute_uv=False) / (0.2 * np.sqrt(max(matrix.shape)))
    assert values.shape == (16,)
    assert values.min() > 0.5 and values.max() < 1.5


def test_clipping_bounds_the_gradient_norm():
    config = OptimizerConfig("sgd", momentum=0.0, clip_norm=0.5)
    transformation = make_optimizer(config)
    updates, _ = transformation.update(PARAMS, transformation.init(PARAMS), PARAMS)
    norm = np.sqrt(sum(float((u**2).sum()) for u in updates.values()))
    assert norm == pytest.approx(0.5, rel=1e-5)


def test_average_equals_its_closed_form():
    """e_T = sum_t p_t (1 - d_t) prod_{s > t} d_s + e_0 prod_t d_t, in float64."""
    values = np.random.default_rng(0).normal(size=(20, 5))
    average = {"w": jnp.asarray(values[0], jnp.float32)}
    for t, value in enumerate(values[1:]):
        step = jnp.asarray(t, jnp.int32)
        average = update_average(average, {"w": jnp.asarray(value, jnp.float32)}, 0.7, step)
    decays = np.asarray([min(0.7, (1 + t) / (10 + t)) for t in range(19)])
    later = np.append(np.cumprod(decays[::-1])[::-1][1:], 1.0)
    expected = values[0] * decays.prod() + (values[1:] * ((1 - decays) * later)[:, None]).sum(0)
    np.testing.assert_allclose(average["w"], expected, atol=1e-6)


@pytest.fixture(scope="module")
def initial_params():
    return jax.device_get(prepare(tiny(), solved=SOLVED).initial_state().params)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in ("kfac", "soap") else ())
        for name in OPTIMIZERS
    ],
)
def test_every_optimizer_lowers_the_loss_on_digits(initial_params, name):
    changes: dict = {"name": name, "learning_rate": RATES[name], "weight_decay": 1e-4}
    if name == "kfac":  # the papers' damping is for batches of 1024; its trust region needs no clip
        changes |= {"kfac": KfacConfig(damping=0.01), "clip_norm": None}
    config = tiny(
        steps=30,
        data=DataConfig("digits", batch_size=64),
        optimizer=optimizer(**changes),
        schedule=ScheduleConfig("constant", warmup_steps=3),
    )
    run = prepare(config, solved=SOLVED)
    state, (step, _) = run.train_step.init(initial_params), run.compile()
    state = jax.device_put(state, run.shardings)
    losses = []
    for number in range(config.steps):
        state, metrics = step(state, run.place(run.pipeline.batch(number)))
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(np.log(10), rel=0.2)
    assert np.mean(losses[-5:]) < 0.8 * losses[0]


def test_layer_decay_multiplies_the_step_by_depth():
    names = ["stem.kernel", *(f"stages.{i}.blocks.{j}.conv1.bias" for i in (0, 1) for j in (0, 1))]
    params = {name: jnp.ones(2) for name in (*names, "norm.scale", "head.kernel")}
    blocks = [name.removesuffix(".conv1.bias") for name in names[1:]]
    layout = (
        Part("stem", "stem", ()),
        *(Part("block", name, ()) for name in blocks),
        Part("pool", "norm", ()),
        Part("head", "head", ()),
    )
    factors = layer_multipliers(layout, params, 0.5)
    assert list(factors.values()) == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1]
    plain, decayed = (
        make_optimizer(OptimizerConfig("sgd", layer_decay=decay), layout) for decay in (1.0, 0.5)
    )
    first, second = (
        transform.update(params, transform.init(params), params)[0]
        for transform in (plain, decayed)
    )
    for name, factor in factors.items():
        np.testing.assert_allclose(second[name], factor * first[name])
