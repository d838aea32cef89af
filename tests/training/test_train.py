"""A network, a source, an optimiser and a loss of one's own go through the same loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import zoo
from tests.training.tiny import BASE, digest, tiny
from zoo.data import Preprocessing, Record
from zoo.data.digits import open_digits
from zoo.models import split
from zoo.pretrained import load_pretrained
from zoo.training import (
    ConfigError,
    LogConfig,
    ModelConfig,
    ScheduleConfig,
    fit,
    prepare,
    read_metrics,
    train,
    validate,
)

PREPROCESS = BASE.preprocessing


class Mlp(nnx.Module):
    """Four layers with marked activations; nothing of the zoo in it but them."""

    def __init__(self, rngs):
        self.layers = nnx.List(
            [nnx.Linear(n, m, rngs=rngs) for n, m in ((64, 32), (32, 32), (32, 10))]
        )
        self.activation = zoo.ShapedActivation("tanh")

    def __call__(self, images):
        x = images.reshape(images.shape[0], -1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


class Quarter:
    """Every fourth training digit: the least that a source has to offer."""

    name, split = "quarter", "train"

    def __init__(self):
        self._digits = open_digits("train")
        self.classes, self.fingerprint = self._digits.classes, "of one's own"

    def __len__(self):
        return len(self._digits) // 4

    def __getitem__(self, index):
        image, label = self._digits[4 * index]
        return Record(image, label)


@pytest.fixture(scope="module")
def classifier():
    shaped = zoo.shape(Mlp(nnx.Rngs(0)), zoo.DKS("tanh"), (1, 8, 8, 1))
    return zoo.Classifier(shaped, PREPROCESS, Quarter().classes)


def _train(classifier, workdir, optimizer, **options):
    options = {"config": tiny(), "eval_source": open_digits("test"), **options}
    return train(classifier, Quarter(), optimizer, workdir=workdir, progress=False, **options)


def test_updates_are_what_optax_says(classifier, tmp_path):
    """Three steps of the loop equal three steps written out, on the same batches."""
    optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(1e-2))
    config = tiny(steps=3)
    result = _train(classifier, tmp_path, optimizer, config=config)
    graphdef, params = classifier.split()
    state = optimizer.init(params)
    from zoo.data import TrainPipeline

    pipeline = TrainPipeline(Quarter(), PREPROCESS, batch_size=16, seed=config.seed)

    @jax.jit
    def step(params, state, images, labels):
        def loss(params):
            logits = nnx.merge(graphdef, nnx.from_flat_state(
                [(tuple(int(p) if p.isdigit() else p for p in n.split(".")), v)
                 for n, v in params.items()]
            ))(PREPROCESS.normalize(images))  # fmt: skip
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, new = optimizer.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), new

    for number in range(3):
        batch = pipeline.batch(number)
        params, state = step(params, state, batch["image"], batch["label"])
    ours = result.model.split()[1]
    for name, value in params.items():
        # float32; adam's first steps divide by the size of the gradient.
        np.testing.assert_allclose(ours[name], value, atol=2e-5, err_msg=name)


def test_it_learns_is_evaluated_and_goes_on_bit_for_bit(classifier, tmp_path):
    optimizer, config = optax.adamw(3e-3), tiny(steps=40)
    whole = _train(classifier, tmp_path / "whole", optimizer, config=config)
    stopped = _train(classifier, tmp_path / "cut", optimizer, config=config, stop_after=13)
    assert stopped.step == 13
    again = _train(classifier, tmp_path / "cut", optimizer, config=config)
    assert digest(again.state.params) == digest(whole.state.params)
    losses = [line["loss"] for line in read_metrics(tmp_path / "whole") if "loss" in line]
    assert losses[-1] < 0.8 * losses[0] and whole.metrics["n"] == 360
    assert zoo.evaluate(whole.model, open_digits("test")).top1 == whole.metrics["top1"]
    with pytest.raises(ValueError, match="network of one's own; zoo.train with the same objects"):
        load_pretrained(tmp_path / "whole")


def test_a_loss_of_ones_own_is_minimised(classifier, tmp_path):
    def squared(logits, targets):
        return jnp.sum((logits - targets) ** 2, axis=-1)

    result = _train(classifier, tmp_path, optax.sgd(0.01), loss=squared, config=tiny(steps=30))
    losses = [line["loss"] for line in read_metrics(tmp_path) if "loss" in line]
    assert losses[-1] < losses[0] and np.isfinite(result.metrics["loss"])


def test_without_an_evaluation_source_a_part_is_held_out(classifier, tmp_path):
    result = _train(classifier, tmp_path, optax.sgd(0.01), eval_source=None, config=tiny(steps=2))
    assert 0 < result.metrics["n"] < len(Quarter()) / 4


def test_a_registered_network_starts_from_its_weights_and_loads_again(tmp_path):
    network = zoo.create_model(BASE.model.arch, **BASE.model.changes, num_classes=10, in_channels=1)
    start = zoo.Classifier(
        network, PREPROCESS, provenance=zoo.classifier.Provenance(BASE.model.arch)
    )
    result = _train(start, tmp_path, None, config=tiny(steps=2))
    loaded = load_pretrained(tmp_path)
    ours, theirs = result.model.split()[1], loaded.split()[1]
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert any(not np.array_equal(ours[name], split(network)[1][name]) for name in ours)


def test_a_run_starts_from_another_ones_weights(tmp_path):
    first = fit(BASE, tmp_path / "first", progress=False)
    narrow = tiny(steps=1, schedule=ScheduleConfig(), init_from=str(tmp_path / "first"))
    run = prepare(narrow, solved=first.model.solved)
    kept = fit(narrow, tmp_path / "second", progress=False, stop_after=1)
    assert kept.model.solved == first.model.solved
    before, after = first.state.params, kept.state.params
    # One step from these weights: near them, and nowhere near a fresh start.
    fresh = run.initial_state().params
    for name in ("stem.kernel", "head.kernel"):
        assert np.linalg.norm(after[name] - before[name]) < 0.3 * np.linalg.norm(
            after[name] - fresh[name]
        )
    fewer = dataclasses.replace(narrow.data, classes=("1", "7"))
    two = fit(dataclasses.replace(narrow, data=fewer), tmp_path / "two", progress=False)
    assert two.model.network.head.kernel.shape[1] == 2
    other = tiny(model=ModelConfig("resnet18", stem="cifar", width=0.0625), init_from=str(tmp_path))
    with pytest.raises(ValueError, match="holds no|is a vanilla_resnet18"):
        fit(other, tmp_path / "other", progress=False)


def test_names_that_stand_for_objects_need_them(tmp_path):
    named = dataclasses.replace(BASE, data=dataclasses.replace(BASE.data, name="own"))
    validate(named)
    with pytest.raises(ConfigError, match="data.name='own' stands for an object of yours; call"):
        fit(named, tmp_path)


def test_other_classes_are_refused(classifier, tmp_path):
    other = dataclasses.replace(classifier, classes=tuple("abcdefghij"))
    with pytest.raises(ConfigError, match="quarter has the classes 0, 1, 2.*the classifier a, b"):
        _train(other, tmp_path, optax.sgd(0.1), config=tiny(log=LogConfig(every_steps=1)))
    assert isinstance(other.preprocess, Preprocessing)
