"""What a family may ask of training: a penalty, rates of its own, values it sets, fixed state."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zoo.models import Fixed, Layer, Network, NetworkConfig, Part, fixed_of, split, statistics_of
from zoo.models.layers import he_normal
from zoo.training import OptimizerConfig, TrainConfig, make_optimizer
from zoo.training.optimizer import layer_multipliers
from zoo.training.step import TrainStep

RATE, WEIGHT = 0.5, 3.0


@dataclasses.dataclass(frozen=True)
class Config(NetworkConfig):
    """Weight of the penalty."""

    penalty_weight: float = WEIGHT


class Toy(Network):
    """Pixels times a fixed matrix and a learnt scale, then a head; counts its updates."""

    def __init__(self, config, activations, *, rngs):
        self.config, self.activations = config, activations
        self.mixing = Fixed(jax.random.normal(rngs.params(), (1, 4)))
        self.scale = nnx.Param(jnp.full((4,), 2.0))
        self.updates = Fixed(jnp.zeros((), jnp.int32))
        self.head = self.new_head(4, he_normal, rngs=rngs)

    @property
    def layout(self):
        stem = Part("stem", "mixing", (Layer("mixing", "mixing"),))
        count = Part("stem", "updates", (Layer("count", "updates"),))
        block = Part("block", "scale", (Layer("scale", "scale", rate=0.25), Layer("mean")))
        return (stem, count, block, self.head_part)

    def features(self, images):
        return images @ self.mixing[...] * self.scale[...]

    def penalty(self):
        return self.config.penalty_weight * jnp.sum(self.scale[...] ** 2)

    def after_step(self, step, before, after, gradients):
        length = jnp.linalg.norm(after["head.kernel"])
        return {
            "updates": before["updates"] + 1,
            "head.kernel": after["head.kernel"] / length,
            "head.bias": before["head.bias"] - gradients["head.bias"] * (step + 1),
        }


def _step(**options):
    config = Config(num_classes=3, in_channels=1, input_norm="none", **options)
    graphdef, params = split(Toy(config, (), rngs=nnx.Rngs(0)))
    optimizer = OptimizerConfig("sgd", learning_rate=RATE, momentum=0.0)
    model = Toy(config, (), rngs=nnx.Rngs(0))
    step = TrainStep(
        config=TrainConfig(steps=2, optimizer=optimizer, ema_decay=0.5),
        graphdef=graphdef,
        num_classes=3,
        schedule=lambda step: jnp.asarray(RATE),
        trained=frozenset(params) - fixed_of(model),
        layout=model.layout,
    )
    return step, step.init(params)


@pytest.fixture
def batch():
    images = jax.random.randint(jax.random.key(0), (4, 8, 8, 1), 0, 256).astype("uint8")
    return {"image": images, "label": jnp.asarray([0, 1, 2, 0])}


def test_a_penalty_is_added_to_the_loss_and_its_gradient_to_the_gradient(batch):
    found = []
    for weight in (0.0, WEIGHT):
        step, state = _step(penalty_weight=weight)
        gradient, metrics, *_ = step.gradients(state, batch)
        found.append((gradient, metrics["loss"]))
    (plain, loss), (with_it, more) = found
    scale = np.full(4, 2.0)
    assert more - loss == pytest.approx(WEIGHT * np.sum(scale**2), rel=1e-5)
    np.testing.assert_allclose(with_it["scale"] - plain["scale"], 2 * WEIGHT * scale, rtol=1e-5)
    np.testing.assert_array_equal(with_it["head.kernel"], plain["head.kernel"])


def test_in_parts_a_penalty_counts_once(batch):
    step, state = _step()
    optimizer = dataclasses.replace(step.config.optimizer, accumulate_steps=2)
    config = dataclasses.replace(step.config, optimizer=optimizer)
    _, whole, *_ = step.gradients(state, batch)
    _, parts, *_ = dataclasses.replace(step, config=config).gradients(state, batch)
    assert parts["loss"] == pytest.approx(float(whole["loss"]), rel=1e-5)


def test_what_a_family_sets_takes_the_place_of_the_update(batch):
    step, state = _step()
    gradient, *_ = step.gradients(state, batch)
    new, _ = jax.jit(step)(state, batch)
    assert new.params["updates"] == 1
    assert np.linalg.norm(new.params["head.kernel"]) == pytest.approx(1, rel=1e-5)
    expected = state.params["head.bias"] - gradient["head.bias"]
    np.testing.assert_allclose(new.params["head.bias"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        new.ema["head.kernel"],
        # the average of the first step takes 9 tenths of the new value
        0.1 * state.params["head.kernel"] + 0.9 * new.params["head.kernel"],
        rtol=1e-5,
    )


def test_fixed_state_is_stored_and_not_trained(batch):
    step, state = _step()
    new, _ = jax.jit(step)(state, batch)
    np.testing.assert_array_equal(new.params["mixing"], state.params["mixing"])
    model = Toy(Config(num_classes=3, input_norm="none"), (), rngs=nnx.Rngs(0))
    assert fixed_of(model) == {"mixing", "updates"} and not statistics_of(model)
    assert set(split(model)[1]) > fixed_of(model)


def test_a_layers_rate_multiplies_that_of_its_parameters():
    step, state = _step()
    optimizer = make_optimizer(OptimizerConfig("sgd", momentum=0.0), step.layout)
    ones = {name: jnp.ones_like(state.params[name]) for name in step.trained}
    directions, _ = optimizer.update(ones, optimizer.init(ones), ones)
    found = {name: float(jnp.ravel(value)[0]) for name, value in directions.items()}
    assert found == {"scale": -0.25, "head.kernel": -1, "head.bias": -1}
    decayed = layer_multipliers(step.layout, found, 0.5)
    assert decayed == {"scale": 0.25 * 0.5, "head.kernel": 1, "head.bias": 1}
    assert math.prod(decayed.values()) == 0.125
