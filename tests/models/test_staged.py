"""RepVGG and ResNet-V1: blocks are their equations, stages are what the papers say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from zoo.complexity import count_macs, count_params
from zoo.models import create_model, merge, split


def _random(id, **options):
    graphdef, abstract = split(create_model(id, abstract=True, width=0.0625, **options))
    generator = np.random.default_rng(0)

    def draw(name, shape):
        if name.endswith(".kernel"):
            return generator.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
        return generator.uniform(0.5, 1.5, shape)

    return merge(
        graphdef, {n: jnp.asarray(draw(n, x.shape), "float32") for n, x in abstract.items()}
    )


def _conv(x, kernel, stride):
    margin = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((margin, margin),) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest",
    )  # fmt: skip


def _norm(p, name, x):
    scale = p[f"{name}.scale"] / jnp.sqrt(p[f"{name}.var"] + 1e-5)
    return (x - p[f"{name}.mean"]) * scale + p[f"{name}.bias"]


def _input(params, kernel, side):
    channels = params[kernel].shape[2]
    return jax.random.normal(jax.random.key(1), (2, side, side, channels))


@pytest.mark.parametrize(("block", "stride"), [(0, 2), (1, 1)])
def test_a_repvgg_block_is_its_equation(block, stride):
    """On even images, where asymmetric padding would shift the 3x3 kernel of stride 2."""
    module = _random("repvgg_a0").stages[0].blocks[block]
    p = split(module)[1]
    x = _input(p, "conv3.kernel", 8)
    expected = _norm(p, "norm3", _conv(x, p["conv3.kernel"], stride))
    expected += _norm(p, "norm1", _conv(x, p["conv1.kernel"], stride))
    if stride == 1:
        expected += _norm(p, "norm0", x)
    assert ("norm0.scale" in p) == (stride == 1)
    np.testing.assert_allclose(module(x), jax.nn.relu(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("id", "stage", "block"), [("resnet18_v1", 1, 0), ("resnet50_v1", 0, 1)])
def test_a_v1_block_is_its_equation(id, stage, block):
    module = _random(id).stages[stage].blocks[block]
    p = split(module)[1]
    steps = sorted(name for name in p if name.startswith("steps") and name.endswith("kernel"))
    strides = [2, 1] if stage else [1] * len(steps)
    x = y = _input(p, steps[0], 8)
    for i, stride in enumerate(strides):
        y = _norm(p, f"steps.{i}.norm", _conv(y, p[f"steps.{i}.conv.kernel"], stride))
        y = jax.nn.relu(y) if i < len(strides) - 1 else y
    if stage:
        x = _norm(p, "projection.norm", _conv(x, p["projection.conv.kernel"], 2))
    np.testing.assert_allclose(module(_input(p, steps[0], 8)),
                               jax.nn.relu(y + x), rtol=1e-4, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize(
    ("depth", "millions"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160)]
)
def test_v1_has_the_sizes_of_the_usual_libraries(depth, millions):
    model = create_model(f"resnet{depth}_v1", abstract=True)
    assert count_params(model) == millions


def test_fifty_layers_take_the_known_products():
    """4.09 billion with strides in the 3x3 convolutions."""
    assert count_macs(create_model("resnet50_v1", abstract=True), (224, 224, 3)) == 4_089_184_256


@pytest.mark.parametrize(
    ("id", "strides"), [("repvgg_a0", 32), ("resnet18_v1", 32), ("diracnet18", 32)]
)
def test_feature_maps_are_what_feature_info_says(id, strides):
    model = create_model(id, abstract=True, width=0.0625)
    graphdef, params = split(model)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    maps = jax.eval_shape(lambda p, x: merge(graphdef, p).feature_maps(x), params, images)
    for info, found in zip(model.feature_info, maps, strict=True):
        assert found.shape == (1, 64 // info.stride, 64 // info.stride, info.channels)
    assert model.feature_info[-1].stride == strides


def test_mistakes_are_sentences():
    with pytest.raises(ValueError, match="groups=3; allowed: 1, 2, 4"):
        create_model("repvgg_a0", groups=3)
    with pytest.raises(ValueError, match="depth=20; allowed: 18, 34, 50"):
        create_model("resnet50_v1", depth=20)
