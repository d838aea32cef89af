"""DiracNet: published sizes, its equations, the identity inside its kernels, and training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from zoo.complexity import count_params
from zoo.models import create_model, list_models, merge, split, statistics_of
from zoo.models.diracnet import DiracConv
from zoo.models.layers import concatenated_relu
from zoo.pretrained import load_pretrained
from zoo.recipes import load_recipe
from zoo.training import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    fit,
)

TINY = {"num_classes": 10, "stem": "cifar", "width": 0.125, "depth": 10}
FLOAT32 = {"dtype": "float32", "param_dtype": "float32"}


@pytest.mark.parametrize(
    ("id", "parameters"),
    [
        ("diracnet18", 11_523_368),
        ("diracnet34", 21_638_952),
        ("diracnet28_5", 9_124_250),
        ("diracnet28_10", 36_450_090),
        ("diracnet34_2", 1_854_378),
    ],
)
def test_published_sizes(id, parameters):
    """The authors' networks, folded and not (their export notebook)."""
    assert count_params(create_model(id, abstract=True)) == parameters


def _random(**options):
    """Weights and statistics that are not their initial values."""
    graphdef, abstract = split(create_model("diracnet28_5", abstract=True, **TINY, **options))
    generator = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith("kernel"):
            return generator.normal(0, 0.3, shape)
        return generator.uniform(0.5, 1.5, shape)

    return merge(
        graphdef, {n: jnp.asarray(draw(n, x.shape), "float32") for n, x in abstract.items()}
    )


def _delta(inputs, outputs, version):
    """The authors' `dirac_` of version 2 and their tiled identity of version 1, in the centre."""
    n = min(inputs, outputs)
    tiled = np.tile(np.eye(n), (max(inputs // outputs, 1), max(outputs // inputs, 1)))
    padded = np.zeros((inputs, outputs))
    padded[:n, :n] = np.eye(n)
    kernel = np.zeros((3, 3, inputs, outputs))
    kernel[1, 1] = tiled if version == 1 else padded
    return kernel


@pytest.mark.parametrize("version", [1, 2])
def test_logits_follow_the_equations(version):
    model = _random(version=version)
    p = {name: np.asarray(value, np.float64) for name, value in split(model)[1].items()}
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3))

    def conv(x, kernel):
        return np.asarray(lax.conv_general_dilated(
            x.astype("float32"), kernel.astype("float32"), (1, 1), ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
        ), np.float64)  # fmt: skip

    def norm(x, name):
        scale = p[f"{name}.scale"] / np.sqrt(p[f"{name}.var"] + 1e-5)
        return (x - p[f"{name}.mean"]) * scale + p[f"{name}.bias"]

    x = np.maximum(norm(conv(images, p["stem.conv.kernel"]), "stem.norm"), 0)
    for group in range(3):
        if group:
            x = x.reshape(2, x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
        for block in range(2):
            name = f"stages.{group}.blocks.{block}"
            w = p[f"{name}.conv.kernel"]
            unit = w / np.sqrt((w**2).sum((0, 1, 2)))
            delta = _delta(*w.shape[2:], version)
            a, b = p[f"{name}.conv.identity_scale"], p[f"{name}.conv.filter_scale"]
            halves = np.concatenate([np.maximum(x, 0), np.minimum(x, 0)], -1)
            active = halves if version == 1 else np.maximum(x, 0)
            x = norm(conv(active, a * delta + b * unit), f"{name}.norm")
    pooled = (np.maximum(x, 0) if version == 2 else x).mean((1, 2))
    expected = pooled @ p["head.kernel"] + p["head.bias"]
    np.testing.assert_allclose(
        model(jnp.asarray(images, "float32")), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("version", "inputs", "outputs"), [(2, 6, 6), (1, 12, 6), (1, 6, 6)])
def test_one_and_zero_are_the_identity(version, inputs, outputs):
    """Exactly; in version 1 of what goes through NCReLU, at a doubling stage of its features."""
    conv = DiracConv(inputs, outputs, version=version, rngs=nnx.Rngs(0), **FLOAT32)
    conv.identity_scale[...] = jnp.ones_like(conv.identity_scale[...])
    conv.filter_scale[...] = jnp.zeros_like(conv.filter_scale[...])
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, min(inputs, outputs)))
    seen = concatenated_relu(x, negated=True) if inputs > outputs else x
    assert np.array_equal(conv(seen), x)


def test_the_length_of_a_filter_counts_for_nothing():
    conv = DiracConv(4, 4, version=2, rngs=nnx.Rngs(0), **FLOAT32)
    before = conv.plain_weights()[0]
    conv.kernel[...] *= jnp.arange(1.0, 5.0)
    np.testing.assert_allclose(conv.plain_weights()[0], before, rtol=1e-5, atol=1e-7)


def test_the_smallest_image_is_refused_no_sooner_and_no_later():
    for id, options in (("diracnet28_5", TINY), ("diracnet18", {"width": 0.0625})):
        model = create_model(id, abstract=True, **options)
        side = model.config.smallest_image_size

        def rows(side, model=model):
            graphdef, params = split(model)
            images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
            run = lambda p, x: merge(graphdef, p).features(x)  # noqa: E731
            return jax.eval_shape(run, params, images).shape[1]

        assert (rows(side), rows(side - 1)) == (1, 0)


def test_it_trains_and_its_run_loads(tmp_path):
    config = TrainConfig(
        steps=40,
        model=ModelConfig("diracnet28_5", stem="cifar", width=0.5, depth=10),
        data=DataConfig("digits", batch_size=32),
        optimizer=OptimizerConfig("sgd", learning_rate=0.1),
        eval=EvalConfig(limit=64, batch_size=64),
        checkpoint=CheckpointConfig(every_steps=40),
    )
    result = fit(config, tmp_path, progress=False)
    assert result.metrics["loss"] < 2.0  # ten classes at chance: 2.3
    model = load_pretrained(tmp_path)
    statistics = statistics_of(model.network)
    assert statistics and all(np.any(model.split()[1][n] != (n[-1] == "r")) for n in statistics)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    assert np.array_equal(model.logits(images), result.model.logits(images))


def test_its_recipe_takes_every_id():
    for id in list_models("diracnet*"):
        config = load_recipe("diracnet", id)
        assert (config.model.arch, config.model.stem) == (id, "cifar")
        assert config.optimizer.clip_norm is None


def test_mistakes_are_sentences():
    with pytest.raises(ValueError, match="depth=20; allowed: 18, 34"):
        create_model("diracnet18", depth=20)
    with pytest.raises(ValueError, match="depth=30; give 10, 16, 22, 28, 34"):
        create_model("diracnet28_5", depth=30)
