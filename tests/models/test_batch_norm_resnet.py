"""The ordinary ResNet-V2 with BatchNorm: its size, its equations, its two modes, its refusal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.cases import SMALL
from zoo import NotShapableError, kernel_graph
from zoo.complexity import count_params
from zoo.models import create_model, merge, split, statistics_of, train_statistics
from zoo.models.blocks import BLOCKS_PER_STAGE
from zoo.models.layers import pooled_statistics

SMALL_BN = SMALL | {"input_norm": "none"}


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), (4, 16, 16, 3))


def _random(id, **options):
    """He-scaled kernels; statistics, scales and biases that are not their initial values."""
    graphdef, abstract = split(create_model(id, abstract=True, **SMALL_BN, **options))
    generator = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith("kernel"):
            return generator.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
        return generator.uniform(0.5, 1.5, shape)

    params = {name: draw(name, leaf.shape) for name, leaf in abstract.items()}
    return merge(graphdef, {n: jnp.asarray(value, jnp.float32) for n, value in params.items()})


def _weights_by_hand(depth):
    """3-channel stem, kernels without bias, two numbers a normalised channel, head with bias."""
    basic = depth in (18, 34)
    total, inputs = 7 * 7 * 3 * 64, 64
    for stage, count in enumerate(BLOCKS_PER_STAGE[depth]):
        inner = 64 * 2**stage
        outputs = inner if basic else 4 * inner
        for _ in range(count):
            if basic:
                total += 9 * inputs * outputs + 9 * outputs * outputs + 2 * (inputs + inner)
            else:
                total += inputs * inner + 9 * inner * inner + inner * outputs
                total += 2 * (inputs + 2 * inner)
            total += inputs * outputs if inputs != outputs else 0  # the projection
            inputs = outputs
    return total + 2 * inputs + inputs * 1000 + 1000


def test_fifty_layers_have_the_known_number_of_parameters():
    assert count_params(create_model("resnet50", abstract=True)) == 25_549_352


@pytest.mark.parametrize("depth", BLOCKS_PER_STAGE)
def test_every_depth_has_the_weights_of_its_layout_and_two_statistics_a_norm(depth):
    model = create_model(f"resnet{depth}", abstract=True)
    assert count_params(model) == _weights_by_hand(depth)
    names = split(model)[1]
    assert statistics_of(model) == {n for n in names if n.endswith((".mean", ".var"))}
    scales = {name.removesuffix("scale") for name in names if name.endswith(".scale")}
    assert statistics_of(model) == {s + kind for s in scales for kind in ("mean", "var")}


def _block_by_its_equations(p, x, stride):
    def conv(x, name, stride=1):
        margin = p[f"{name}.kernel"].shape[0] // 2
        return lax.conv_general_dilated(
            x, p[f"{name}.kernel"], (stride, stride), ((margin, margin),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
        )  # fmt: skip

    def normalized(x, n):
        scale = p[f"norm{n}.scale"] / jnp.sqrt(p[f"norm{n}.var"] + 1e-5)
        return jax.nn.relu((x - p[f"norm{n}.mean"]) * scale + p[f"norm{n}.bias"])

    first = normalized(x, 1)
    branch = conv(first, "conv1")
    branch = conv(normalized(branch, 2), "conv2", stride)
    branch = conv(normalized(branch, 3), "conv3")
    return branch + (conv(first, "projection", stride) if "projection.kernel" in p else x)


@pytest.mark.parametrize(("stage", "number", "stride"), [(1, 0, 2), (0, 0, 1), (1, 2, 1)])
def test_a_block_is_its_equations(stage, number, stride):
    """Shape-changing blocks project what the first normalisation and activation give."""
    model = _random("resnet50")
    block = model.stages[stage].blocks[number]
    params = split(block)[1]
    x = jax.random.normal(jax.random.key(3), (2, 8, 8, params["norm1.mean"].shape[0]))
    expected = _block_by_its_equations(params, x, stride)
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(block(x), expected, rtol=1e-4, atol=1e-4)  # float32


def _trained(model, images, statistics):
    """Logits and parameters after a pass in which these statistics are measured."""
    graphdef, params = split(model)

    @jax.jit
    def run(params, images):
        model = merge(graphdef, params)
        train_statistics(model, statistics)
        return model(images), split(model)[1]

    return run(params, images)


@pytest.mark.fault("E12")
def test_training_measures_the_batch_and_evaluation_does_not(images):
    model = _random("resnet18")
    before = split(model)[1]
    logits, after = _trained(model, images, statistics_of(model))
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == statistics_of(model)
    stem = np.asarray(model.block_outputs(images)["stem"], np.float64)
    mean, variance = stem.mean((0, 1, 2)), stem.var((0, 1, 2))
    first = "stages.0.blocks.0.norm1"
    for kind, measured in (("mean", mean), ("var", variance)):
        expected = 0.9 * np.asarray(before[f"{first}.{kind}"]) + 0.1 * measured
        np.testing.assert_allclose(after[f"{first}.{kind}"], expected, rtol=1e-5)
    assert not np.allclose(logits, model(images))
    assert all(np.array_equal(before[name], value) for name, value in split(model)[1].items())


@pytest.mark.parametrize("options", [{"scan": True}, {"remat": "blocks", "scan": True}])
def test_scan_and_remat_measure_the_same(options, images):
    plain, other = (_random("resnet34", **o) for o in ({"scan": False}, options))
    found = [_trained(model, images, statistics_of(model)) for model in (plain, other)]
    for name, value in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], value, rtol=1e-4, atol=1e-5)  # float32
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scan", [False, True])
def test_only_the_named_layers_measure(scan, images):
    model = _random("resnet34", scan=scan)
    chosen = {"stages.2.blocks.3.norm2.mean", "stages.2.blocks.3.norm2.var"}
    before, (_, after) = split(model)[1], _trained(model, images, chosen)
    assert {n for n in before if not np.array_equal(before[n], after[n])} == chosen


def test_a_model_may_be_captured_by_a_compiled_function(images):
    model = _random("resnet18")
    graphdef, params = split(model)
    expected = jax.jit(lambda p, x: merge(graphdef, p)(x))(params, images)
    np.testing.assert_allclose(jax.jit(model)(images), expected, rtol=1e-4, atol=1e-4)


def test_parts_pool_to_the_statistics_of_the_whole():
    """Against the moments of all values together."""
    values = np.random.default_rng(0).normal(3.0, 2.0, (4, 25, 7)) * np.arange(1, 8)
    mean, var = (0.1 * part for part in (values.mean(1), values.var(1)))
    pooled = pooled_statistics({"n.mean": jnp.asarray(mean), "n.var": jnp.asarray(var)})
    np.testing.assert_allclose(pooled["n.mean"], 0.1 * values.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(pooled["n.var"], 0.1 * values.var((0, 1)), rtol=1e-5)


def test_bfloat16_keeps_statistics_in_float32():
    narrow = {"dtype": "bfloat16", "param_dtype": "bfloat16"}
    model = create_model("resnet18", abstract=True, **narrow, **SMALL_BN)
    graphdef, params = split(model)
    assert {params[name].dtype for name in statistics_of(model)} == {np.dtype("float32")}
    assert params["norm.scale"].dtype == jnp.bfloat16
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    for method, dtype in (("features", jnp.bfloat16), ("__call__", jnp.float32)):
        out = jax.eval_shape(
            lambda p, x, m=method: getattr(merge(graphdef, p), m)(x), params, images
        )
        assert out.dtype == dtype


def test_batch_norm_has_no_kernel_graph():
    with pytest.raises(NotShapableError, match="contains BatchNorm, whose statistics have no"):
        kernel_graph(create_model("resnet50", abstract=True), (1, 224, 224, 3))
