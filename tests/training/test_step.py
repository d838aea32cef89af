"""The step: accumulation, frozen parameters, soft targets, one compilation, non-finite steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.tiny import BASE, SOLVED, optimizer, tiny
from zoo.training import LogConfig, ModelConfig, RegularizationConfig, prepare
from zoo.training.diagnosis import non_finite_error


@pytest.fixture(scope="module")
def run():
    return prepare(tiny(log=LogConfig(layer_norms=True)), solved=SOLVED)


@pytest.fixture(scope="module")
def compiled(run):
    return run.compile()[0]


@pytest.fixture(scope="module")
def initial(run):
    return jax.device_get(run.initial_state())


def _state(run, initial):
    """A fresh copy on the device, which a step may donate."""
    return jax.device_put(initial, run.shardings)


def test_accumulated_gradients_equal_those_of_the_whole_batch(run, initial):
    batch = run.place(run.pipeline.batch(0))
    split = tiny(optimizer=optimizer(accumulate_steps=4))
    steps = (run.train_step, dataclasses.replace(run.train_step, config=split))
    found = [jax.jit(step.gradients)(initial, batch) for step in steps]
    (whole, whole_metrics, *_), (parts, parts_metrics, *_) = found
    for name in whole:
        scale = float(jnp.abs(whole[name]).max())
        # float32 sums over 16 examples through 18 layers, in another order
        np.testing.assert_allclose(parts[name], whole[name], atol=1e-4 * scale)
    assert float(parts_metrics["loss"]) == pytest.approx(float(whole_metrics["loss"]), rel=1e-6)
    assert float(parts_metrics["top1"]) == pytest.approx(float(whole_metrics["top1"]), rel=1e-6)


def test_compiles_once_and_moves_nothing_behind_the_scenes(run, initial, count_compilations):
    state = _state(run, initial)
    batches = [run.place(run.pipeline.batch(number)) for number in range(6)]
    with count_compilations() as compilations:
        step, seconds = run.compile()
        assert len(compilations) == 1 and seconds > 0
        with jax.transfer_guard("disallow"):
            for batch in batches:
                state, _ = step(state, batch)
        assert len(compilations) == 1
    assert int(state.step) == 6


def test_frozen_parameters_keep_every_bit_and_have_no_optimizer_state():
    config = tiny(trainable=r"^head\.", optimizer=optimizer(weight_decay=0.1), ema_decay=0.5)
    run = prepare(config, solved=SOLVED)
    before = jax.device_get(run.initial_state())
    state, step = run.initial_state(), run.compile()[0]
    for number in range(3):
        state, _ = step(state, run.place(run.pipeline.batch(number)))
    for name, value in before.params.items():
        frozen = not name.startswith("head.")
        assert np.array_equal(state.params[name], value) == frozen, name
        assert np.array_equal(state.inference_params[name], value) == frozen, name
    kept = {path[-1].key for path, leaf in jax.tree.leaves_with_path(state.opt_state) if leaf.ndim}
    assert kept == {"head.bias", "head.kernel"}


def test_a_predicate_selects_what_is_trained():
    run = prepare(BASE, solved=SOLVED, trainable=lambda name: name.endswith("bias"))
    assert run.train_step.trained == {n for n in run.abstract_state.params if n.endswith("bias")}
    with pytest.raises(ValueError, match="trainable='nothing' selects no parameter"):
        prepare(tiny(trainable="nothing"), solved=SOLVED)


def test_label_smoothing_spreads_its_share_over_all_classes(run):
    config = tiny(regularization=RegularizationConfig(label_smoothing=0.1))
    step = dataclasses.replace(run.train_step, config=config)
    batch = run.place(run.pipeline.batch(0))
    images, targets = step.inputs(jax.random.key(0), batch)
    expected = 0.01 + 0.9 * np.eye(10)[np.asarray(batch["label"])]
    np.testing.assert_allclose(targets, expected, atol=1e-6)
    np.testing.assert_array_equal(images, config.preprocessing.normalize(batch["image"]))


def test_mixing_keeps_targets_a_distribution_and_happens_with_its_probability(run):
    batch = run.place(run.pipeline.batch(0))
    labels = np.eye(10)[np.asarray(batch["label"])]
    settings = RegularizationConfig(mixup=0.25, mixup_alpha=1.0, cutmix=0.25, erasing=0.5)
    step = dataclasses.replace(run.train_step, config=tiny(regularization=settings))
    keys = jax.random.split(jax.random.key(1), 256)
    images, targets = jax.jit(jax.vmap(lambda key: step.inputs(key, batch)))(keys)
    assert images.shape == (256, 16, 8, 8, 1) and images.dtype == jnp.float32
    np.testing.assert_allclose(targets.sum(-1), 1.0, atol=1e-5)
    mixed = np.mean(np.abs(np.asarray(targets) - labels).max(axis=(1, 2)) > 1e-3)
    # 4 standard errors of 256 draws; a few cutmix rectangles are empty or the whole image
    assert abs(mixed - 0.5) <= 4 * np.sqrt(0.25 / 256) + 0.02


@pytest.mark.fault("B15", "D3")
def test_randomness_is_a_function_of_seed_and_step(run, initial):
    model = dataclasses.replace(BASE.model, dropout_rate=0.5)
    dropping = prepare(tiny(model=model), solved=SOLVED)
    batch = run.place(run.pipeline.batch(0))
    loss = jax.jit(lambda s: dropping.train_step.gradients(s, batch)[1]["loss"])
    later = dataclasses.replace(initial, step=initial.step + 1)
    assert float(loss(initial)) == float(loss(initial)) != float(loss(later))


def test_layer_norms_add_up_to_the_global_ones(run, compiled, initial):
    _, metrics = compiled(_state(run, initial), run.place(run.pipeline.batch(0)))
    for kind in ("gradient", "update", "parameter"):
        layers = np.asarray(list(metrics["layers"][kind].values()))
        assert np.sqrt((layers**2).sum()) == pytest.approx(float(metrics[f"{kind}_norm"]), rel=1e-5)
    assert set(metrics["layers"]["gradient"]) == set(run.abstract_state.params)
    sizes = metrics["layers"]["activation"]
    assert "stem" in sizes and len(sizes) == 9  # and the eight blocks of depth 18
    # The input has q value 1 everywhere and the stem keeps it, up to the noise of a few channels.
    assert 0.3 < float(sizes["stem"]) < 3


@pytest.mark.fault("D1")
def test_a_step_that_is_not_finite_changes_nothing_and_names_its_layer():
    config = tiny(optimizer=optimizer(learning_rate=1e9, clip_norm=None))
    run = prepare(config, solved=SOLVED)
    state, step = run.initial_state(), run.compile()[0]
    for number in range(12):
        before = jax.device_get(state)
        state, metrics = step(state, run.place(run.pipeline.batch(number)))
        if not state.finite:
            break
    assert not np.isfinite([float(metrics["loss"]), float(metrics["gradient_norm"])]).all()
    after = jax.device_get(dataclasses.replace(state, finite=jnp.asarray(True)))
    assert jax.tree.all(jax.tree.map(np.array_equal, before, after))
    frozen_at = int(state.step)
    state, _ = step(state, run.place(run.pipeline.batch(number + 1)))
    assert int(state.step) == frozen_at == number and not state.finite

    batch = run.pipeline.batch(frozen_at)
    error = non_finite_error(run.train_step, state, run.place(batch), list(batch["index"]))
    assert error.step == frozen_at and error.exit_code == 6
    assert error.layer in state.params
    assert f"step {frozen_at} is not finite: first in {error.layer}" in str(error)
    assert f"examples {batch['index'][0]}, " in str(error)


def test_initial_parameters_are_taken_or_every_difference_is_listed(run, initial):
    params = initial.params
    given = {name: np.full_like(value, 0.5) for name, value in params.items()}
    head = {"head.kernel": given.pop("head.kernel"), "head.bias": given.pop("head.bias")}
    state = run.initial_state(given, fresh=[r"^head\."])
    assert all(np.array_equal(state.params[name], value) for name, value in given.items())
    assert np.array_equal(state.params["head.kernel"], params["head.kernel"])

    wrong = {**given, "head.kernel": head["head.kernel"][:, :3], "tail": head["head.bias"]}
    with pytest.raises(ValueError, match="unknown to the model: tail") as caught:
        run.initial_state(wrong)
    assert "missing: head.bias (10,)" in str(caught.value)
    assert "other shape: head.kernel is (32, 3) given, (32, 10) expected" in str(caught.value)


def test_a_head_of_another_size_than_the_data_is_refused():
    model = ModelConfig("vanilla_resnet18_tat_lrelu", num_classes=7, stem="cifar", width=0.0625)
    with pytest.raises(ValueError, match="num_classes=7, but digits has 10 classes"):
        prepare(tiny(model=model), solved=SOLVED)


def test_class_weights_are_factors_on_the_loss_of_each_example(run, initial):
    weights = tuple(0.5 + label / 3 for label in range(10))
    config = tiny(regularization=RegularizationConfig(0.1, class_weights=weights))
    step = dataclasses.replace(run.train_step, config=config)
    batch = run.place(run.pipeline.batch(0))
    images, targets = step.inputs(jax.random.key(0), batch)
    label = np.asarray(batch["label"])
    smooth = 0.9 * np.eye(10)[label] + 0.01
    assert np.allclose(targets, smooth * np.asarray(weights)[label, None])
    logits = np.asarray(run.model_of(initial)(images), np.float64)
    losses = np.log(np.exp(logits).sum(1)) - (smooth * logits).sum(1)
    measured = jax.jit(step.gradients)(initial, batch)[1]["loss"]
    assert measured == pytest.approx(np.mean(np.asarray(weights)[label] * losses), rel=1e-4)


def test_as_many_class_weights_as_classes_are_needed():
    weights = RegularizationConfig(class_weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="class_weights has 2 numbers, but digits has 10 classes"):
        prepare(tiny(regularization=weights), solved=SOLVED)
