"""K-FAC: its blocks and statistics against the exact Fisher matrix, its steps against kfac-jax."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.cases import SMALL
from tests.conftest import json_from_8_devices
from tests.training.tiny import SOLVED
from zoo.models import create_model, merge, split
from zoo.models.layers import INITIALIZERS, Conv, Dense
from zoo.models.resnet import Block, ResNetConfig
from zoo.models.trunk import Stage
from zoo.training import ConfigError, KfacConfig, OptimizerConfig, make_optimizer
from zoo.training.curvature import (
    check_layers,
    describe_blocks,
    fisher_blocks,
    fisher_statistics,
    watch,
)
from zoo.training.kfac import damped_inverse, scale_by_kfac

GOLDEN = Path(__file__).parent / "golden" / "kfac.json"  # made by kfac_jax_steps.py beside it
FAMILIES = ("vanilla_resnet18_eoc_relu", "vanilla_resnet50_eoc_relu", "rescaled_resnet50_eoc_relu")
OPTIONS = {"initializer": INITIALIZERS["he_normal"], "dtype": "float32", "param_dtype": "float32"}
STEPS_ON_8_DEVICES = """
import jax, json
from tests.training.test_kfac import three_steps
assert jax.device_count() == 8
jax.config.update("jax_disable_most_optimizations", True)
print(json.dumps(three_steps()))
"""


class Chain(nnx.Module):
    """3x3 convolution of stride 2, 1x1 convolution, mean over locations, dense layer."""

    def __init__(self, kernel_size=3, stride=2):
        rngs = nnx.Rngs(0)
        self.first = Conv(2, 3, kernel_size, stride=stride, rngs=rngs, **OPTIONS)
        self.second = Conv(3, 4, 1, rngs=rngs, **OPTIONS)
        self.head = Dense(4, 3, rngs=rngs, **OPTIONS)

    def __call__(self, images):
        x = jnp.tanh(self.second(jnp.tanh(self.first(images))))
        return self.head(jnp.mean(x, axis=(1, 2)))


def network(model, images, others=None):
    """Logits as a function of trained parameters and moments; other parameters fixed."""
    graphdef, _ = split(model)

    def logits_of(params, moments):
        built = merge(graphdef, {**(others or {}), **params})
        watch(built, moments)
        return built(images)

    return logits_of


def drawn(label):
    """Stands for drawing: the same label for every example."""
    return lambda logits: jnp.full(len(logits), label)


@functools.cache
def golden():
    return json.loads(GOLDEN.read_text())


def three_steps():
    """Parameters after each step, and the last factors; batches are split over all devices."""
    settings = golden()["settings"]
    mesh = jax.make_mesh((jax.device_count(),), ("data",), (AxisType.Auto,))
    place = functools.partial(jax.device_put, device=NamedSharding(mesh, PartitionSpec("data")))
    config = OptimizerConfig(
        "kfac",
        momentum=settings["momentum"],
        kfac=KfacConfig(
            *(settings[name] for name in ("damping", "norm_constraint")),
            curvature_decay=settings["curvature_decay"],
            inverse_period=settings["inverse_period"],
            burnin_steps=0,
        ),
    )
    transformation, model, rate = make_optimizer(config), Chain(), settings["learning_rate"]
    params = {name: jnp.asarray(v, jnp.float32) for name, v in golden()["initial"].items()}
    state, after = transformation.init(params), []

    @jax.jit
    def step(params, state, images, labels):
        def loss(params):
            logits = network(model, images)(params, {})
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])

        curvature = fisher_statistics(network(model, images), params, lambda _: labels)
        updates, state = transformation.update(
            jax.grad(loss)(params), state, params, curvature=curvature, learning_rate=rate
        )
        return {name: p + rate * updates[name] for name, p in params.items()}, state

    for images, labels in zip(golden()["images"], golden()["labels"], strict=True):
        batch = place(np.asarray(images, np.float32)), place(np.asarray(labels))
        params, state = step(params, state, *batch)
        after.append({name: np.asarray(value).tolist() for name, value in params.items()})
    (kept,) = (part for part in state if hasattr(part, "factors"))
    return after, {name: [np.asarray(f).tolist() for f in fs] for name, fs in kept.factors.items()}


@pytest.mark.parametrize("devices", [1, 8])
def test_three_steps_are_those_of_kfac_jax(devices):
    after, factors = three_steps() if devices == 1 else json_from_8_devices(STEPS_ON_8_DEVICES)
    for found, expected in zip(after, golden()["after"], strict=True):
        for name, value in expected.items():
            rows = np.asarray(found[name]).reshape(np.shape(value))
            np.testing.assert_allclose(rows, value, atol=2e-6, err_msg=name)  # float32
    for name, expected in golden()["factors"].items():
        for found, value in zip(factors[name], expected, strict=True):
            np.testing.assert_allclose(found, value, atol=1e-6)


def jacobian_and_p(logits_of, params):
    """Derivatives of all logits by parameter, and the probabilities [example, class]."""
    logits = functools.partial(logits_of, moments={})
    return jax.jacobian(logits)(params), jax.nn.softmax(logits(params))


def for_each_label(logits_of, params):
    return [fisher_statistics(logits_of, params, drawn(label)) for label in range(3)]


def rows_of(jacobian, block):
    """Derivatives of the logits by a block's matrix, float64 [example, class, entry]."""
    parts = [np.asarray(jacobian[name], np.float64) for name in block.parameters]
    rows = [part.reshape(*part.shape[:2], -1, block.sizes[1]) for part in parts]
    return np.concatenate(rows, axis=2).reshape(*parts[0].shape[:2], -1)


def test_factors_of_one_example_and_location_are_the_exact_fisher_matrix():
    model = Chain(kernel_size=1, stride=1)
    params = split(model)[1]
    logits_of = network(model, jax.random.normal(jax.random.key(1), (1, 1, 1, 2)))
    jacobian, p = jax.jit(lambda params: jacobian_and_p(logits_of, params))(params)
    found = jax.jit(lambda params: for_each_label(logits_of, params))(params)
    for block in fisher_blocks(params):
        rows = rows_of(jacobian, block)[0]
        exact = rows.T @ (np.diag(p[0]) - np.outer(p[0], p[0])) @ rows
        expected = sum(p[0, y] * np.kron(*map(np.asarray, found[y][block.name])) for y in range(3))
        np.testing.assert_allclose(expected, exact, atol=1e-6)


def test_softmax_regression_gets_its_natural_gradient():
    """At zero weights all examples have the same p, and A (x) G is the whole Fisher matrix."""
    model = Dense(4, 3, rngs=nnx.Rngs(0), **OPTIONS)
    holder = nnx.Dict(head=model)
    images, labels = jax.random.normal(jax.random.key(2), (16, 4)), jnp.arange(16) % 3
    params = jax.tree.map(jnp.zeros_like, split(holder)[1])
    graphdef = split(holder)[0]

    def logits_of(params, moments):
        built = merge(graphdef, params)
        watch(built, moments)
        return built["head"](images)

    def loss(params):
        return -jnp.mean(jax.nn.log_softmax(logits_of(params, {}))[jnp.arange(16), labels])

    transformation = scale_by_kfac(
        damping=1e-8, norm_constraint=None, curvature_decay=0.9, inverse_period=1, burnin_steps=0
    )

    @jax.jit
    def update(params):
        gradient, labelled = jax.grad(loss)(params), for_each_label(logits_of, params)
        curvature = jax.tree.map(lambda *leaves: sum(leaves) / 3, *labelled)
        found = transformation.update(
            gradient, transformation.init(params), curvature=curvature, learning_rate=1.0
        )[0]
        return gradient, found, jacobian_and_p(logits_of, params)

    gradient, found, (jacobian, p) = update(params)
    (block,) = fisher_blocks(params)
    outer = [np.diag(one) - np.outer(one, one) for one in np.asarray(p, np.float64)]
    rows = rows_of(jacobian, block)
    fisher = np.mean([r.T @ o @ r for r, o in zip(rows, outer, strict=True)], axis=0)
    # Adding a number to all logits changes nothing: the Fisher matrix is singular along it.
    natural = np.linalg.pinv(fisher, rcond=1e-6) @ np.asarray(block.matrix(gradient)).ravel()
    np.testing.assert_allclose(block.matrix(found).ravel(), natural, rtol=2e-3, atol=2e-3)


def test_what_is_trained_alone_has_a_block_of_its_own():
    model, images = Chain(), jax.random.normal(jax.random.key(3), (4, 5, 5, 2))
    params = split(model)[1]
    trained = {name: params[name] for name in ("first.bias", "head.kernel")}

    def log_p(trained, image):
        return jax.nn.log_softmax(network(model, image[None], params)(trained, {})[0])[1]

    @jax.jit
    def both(trained):
        found = fisher_statistics(network(model, images, params), trained, drawn(1))
        return found, jax.vmap(jax.grad(log_p), (None, 0))(trained, images)

    found, by_example = both(trained)
    (diagonal,) = found["first.bias"]
    np.testing.assert_allclose(diagonal, by_example["first.bias"].sum(0) ** 2 / 4, rtol=1e-4)
    assert [factor.shape for factor in found["head"]] == [(4, 4), (3, 3)]
    (inverse,) = damped_inverse((diagonal,), 0.5)
    np.testing.assert_allclose(inverse, 1 / (diagonal + 0.5))


def random_curvature(params, seed):
    """Positive definite factors for all blocks, all of them Kronecker-factored."""
    draw = np.random.default_rng(seed)

    def factor(size):
        root = draw.normal(size=(size, 2 * size)).astype(np.float32)
        return jnp.asarray(root @ root.T / size)

    return {block.name: tuple(map(factor, block.sizes)) for block in fisher_blocks(params)}


def test_inverses_are_refreshed_every_few_steps_and_statistics_averaged_at_each():
    params = split(Chain())[1]
    transformation = scale_by_kfac(
        damping=1e-2, norm_constraint=None, curvature_decay=0.5, inverse_period=3, burnin_steps=0
    )
    state, states, batches = transformation.init(params), [], []
    update = jax.jit(transformation.update)
    for step in range(5):
        batches.append(random_curvature(params, step))
        _, state = update(params, state, curvature=batches[-1], learning_rate=1.0)
        states.append(state)
    kept = [np.asarray(state.inverses["head"][0]) for state in states]
    assert np.array_equal(kept[0], kept[1]) and np.array_equal(kept[1], kept[2])
    assert not np.array_equal(kept[2], kept[3]) and np.array_equal(kept[3], kept[4])
    expected = damped_inverse(states[3].factors["first"], 1e-2)
    np.testing.assert_allclose(states[4].inverses["first"][0], expected[0], rtol=1e-4, atol=1e-5)
    weights = 0.5 ** np.arange(5)[::-1]
    mean = sum(w * batch["head"][0] for w, batch in zip(weights, batches, strict=True))
    np.testing.assert_allclose(state.factors["head"][0], mean / weights.sum(), rtol=1e-5)


def test_the_first_steps_only_measure():
    params = split(Chain())[1]
    transformation = scale_by_kfac(
        damping=1e-2, norm_constraint=None, curvature_decay=0.5, inverse_period=3, burnin_steps=2
    )
    state, update = transformation.init(params), jax.jit(transformation.update)
    for step in range(3):
        curvature = random_curvature(params, step)
        direction, state = update(params, state, curvature=curvature, learning_rate=1.0)
        assert any(np.any(value) for value in direction.values()) == (step == 2)
    expected = damped_inverse(state.factors["head"], 1e-2)  # of all three
    np.testing.assert_allclose(state.inverses["head"][1], expected[1], rtol=1e-4)


@pytest.mark.parametrize("rate", [1e-4, 1.0])
def test_a_step_is_at_most_as_long_as_the_trust_region_in_the_fisher_metric(rate):
    params, constraint, damping = split(Chain())[1], 1e-3, 0.1
    curvature = random_curvature(params, 0)
    steps = {}
    for limit in (None, constraint):
        transformation = scale_by_kfac(
            damping=damping,
            norm_constraint=limit,
            curvature_decay=0.9,
            inverse_period=1,
            burnin_steps=0,
        )
        update = jax.jit(transformation.update)
        steps[limit], state = update(
            params, transformation.init(params), curvature=curvature, learning_rate=rate
        )
    squared = 0.0
    for block in fisher_blocks(params):
        dense = np.linalg.inv(np.kron(*map(np.asarray, state.inverses[block.name])))
        step = rate * np.asarray(block.matrix(steps[constraint])).ravel()
        squared += step @ dense @ step
    if rate == 1.0:
        assert squared == pytest.approx(constraint, rel=1e-3)
    else:
        assert squared < constraint
        assert all(np.array_equal(steps[None][name], steps[constraint][name]) for name in params)


class Scanned(nnx.Module):
    """A stage of three bottleneck blocks, and a head."""

    def __init__(self, **options):
        config = ResNetConfig(50, width=0.0625, **options)
        rngs = nnx.Rngs(0)
        places = [place for place in config.places if place.stage == 0]
        blocks = [Block(config, *SOLVED.activations, place, rngs=rngs) for place in places]
        self.stages = nnx.List([Stage(blocks, config)])
        self.head = Dense(16, 3, rngs=rngs, **OPTIONS)

    def __call__(self, x):
        return self.head(jnp.mean(self.stages[0](x).astype(jnp.float32), axis=(1, 2)))


@functools.cache
def factors_of_a_stage(**options):
    model, x = Scanned(**options), jax.random.normal(jax.random.key(4), (4, 4, 4, 4))
    params = split(model)[1]
    logits_of, draw = network(model, x), drawn(0)
    run = jax.jit(lambda params: fisher_statistics(logits_of, params, draw))
    moments = {b.name: b.zeros() for b in fisher_blocks(params)}
    watched, plain = (jax.jit(logits_of)(params, m) for m in (moments, {}))
    assert np.array_equal(watched, plain)  # bit for bit
    return run(params)


@pytest.mark.parametrize("options", [{"scan": True}, {"remat": "blocks"}])
def test_watching_changes_no_output_and_sees_into_scanned_and_rematerialised_blocks(options):
    expected, found = factors_of_a_stage(), factors_of_a_stage(**options)
    assert expected.keys() == found.keys() and len(found) == 10
    for name, factors in found.items():
        for one, wanted in zip(factors, expected[name], strict=True):
            scale = float(jnp.abs(wanted).max())
            np.testing.assert_allclose(one, wanted, atol=1e-5 * scale, err_msg=name)


def test_statistics_of_bfloat16_layers_are_float32():
    expected, found = factors_of_a_stage(), factors_of_a_stage(dtype="bfloat16")
    assert {str(f.dtype) for factors in found.values() for f in factors} == {"float32"}
    first = "stages.0.blocks.0.conv1"  # the others see what rounding made of it
    np.testing.assert_allclose(found[first][0], expected[first][0], rtol=0.02, atol=0.01)


@pytest.mark.parametrize("arch", FAMILIES)
def test_every_parameter_of_every_family_is_in_one_block_and_every_kernel_in_a_factored_one(arch):
    model = create_model(arch, **SMALL, abstract=True)
    params = split(model)[1]
    check_layers(model, params)
    blocks = fisher_blocks(params)
    assert sorted(name for block in blocks for name in block.parameters) == sorted(params)
    layers = [part for _, part in nnx.iter_modules(model) if hasattr(part, "kernel")]
    factored = [block for block in blocks if not block.is_diagonal]
    assert {type(layer) for layer in layers} <= {Conv, Dense}
    assert len(factored) == len(layers) and all(len(block.parameters) == 2 for block in factored)
    assert f"K-FAC: {len(blocks)} blocks" in describe_blocks(blocks)


def test_what_it_cannot_describe_is_refused_in_one_sentence():
    model = create_model("resnet50", **SMALL, abstract=True)
    params = split(model)[1]
    with pytest.raises(ConfigError, match=r"this network normalises by the batch \(norm\); take"):
        check_layers(model, params)
    model = create_model("vanilla_resnet18_tat_lrelu", **SMALL, abstract=True)
    model.head = nnx.eval_shape(lambda: nnx.Linear(32, 10, rngs=nnx.Rngs(0)))
    with pytest.raises(ConfigError, match=r"head\.kernel belongs to a Linear; take optimizer"):
        check_layers(model, split(model)[1])


def test_the_listing_names_every_block_once():
    params = split(create_model("vanilla_resnet50_tat_lrelu", **SMALL, abstract=True))[1]
    lines = describe_blocks(fisher_blocks(params)).splitlines()
    assert lines[0] == "K-FAC: 50 blocks of the Fisher matrix"
    assert "  stem: kernel, bias: factors 37 x 4" in lines
    assert "  stages.2.blocks.{1..5}.conv1: kernel, bias: factors 65 x 16" in lines
    alone = {name: params[name] for name in ("head.bias", "stem.kernel")}
    assert describe_blocks(fisher_blocks(alone)).splitlines()[1:] == [
        "  head.bias: diagonal 10",
        "  stem: kernel: factors 36 x 4",
    ]
