"""Properties of the networks: shapes, plainness, gradients, equal forms, parameter names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.cases import SHALLOWEST, SMALL, STRUCTURES, small
from tests.models.quick import quick_jit, quick_model
from zoo.models import create_model, fixed_of, merge, split

IMAGES = (4, 16, 16, 3)


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(1), IMAGES)


def _logits(model, images):
    graphdef, params = split(model)
    return jax.jit(lambda params, images: merge(graphdef, params)(images))(params, images)


@pytest.mark.parametrize("id", SHALLOWEST)
def test_every_parameter_gets_a_finite_gradient(id, images):
    """Where a layer begins at zero and hides those before it, they get theirs after a move."""
    model = quick_model(id, **small(id))
    graphdef, params = split(model)

    @quick_jit
    def gradient(params):
        return jax.grad(lambda p: jnp.mean(merge(graphdef, p)(2 * images) ** 2))(params)

    found = jax.device_get(gradient(params))
    assert all(np.isfinite(grad).all() for grad in found.values())
    hidden = {name for name, grad in found.items() if not np.any(grad)} - fixed_of(model)
    if hidden:
        generator = np.random.default_rng(0)
        moved = {n: v + 0.1 * generator.normal(size=v.shape) for n, v in params.items()}
        found = jax.device_get(gradient({n: v.astype("f") for n, v in moved.items()}))
        assert all(np.isfinite(found[name]).all() and np.any(found[name]) for name in hidden)
        assert not id.startswith(("vanilla", "rescaled", "resnet"))


@pytest.mark.parametrize("id", STRUCTURES)
def test_vanilla_means_no_two_feature_maps_are_ever_added(id):
    """In the traced forward pass a vanilla network adds biases only; rescaled: one join a block."""
    graphdef, params = split(create_model(id, scan=False, abstract=True, **SMALL))
    images = jax.ShapeDtypeStruct(IMAGES, jnp.float32)
    jaxpr = jax.make_jaxpr(lambda p, x: merge(graphdef, p)(x))(params, images).jaxpr
    equations = list(_flatten(jaxpr))
    biases = {v for e in equations if e.primitive.name == "broadcast_in_dim" for v in e.outvars}
    joins = [
        e
        for e in equations
        if e.primitive.name == "add" and e.outvars[0].aval.ndim == 4 and not biases & set(e.invars)
    ]
    blocks = sum(name.endswith("conv2.kernel") for name in params)
    assert len(joins) == (0 if id.startswith("vanilla") else blocks)


def _flatten(jaxpr):
    for equation in jaxpr.eqns:
        inner = [p.jaxpr for p in equation.params.values() if hasattr(p, "jaxpr")]
        yield from (e for j in inner for e in _flatten(j)) if inner else [equation]


@pytest.mark.parametrize(
    ("id", "options"),
    [
        ("vanilla_resnet34_tat_lrelu", {"scan": True}),
        ("vanilla_resnet34_tat_lrelu", {"remat": "blocks"}),
        ("rescaled_resnet50_dks_softplus", {"scan": True, "remat": "activations"}),
    ],
)
def test_scan_and_remat_change_neither_numbers_nor_names(id, options, images):
    plain = create_model(id, scan=False, **SMALL)
    other = create_model(id, **(SMALL | {"scan": False} | options))
    assert list(split(plain)[1]) == list(split(other)[1])
    np.testing.assert_allclose(
        _logits(plain, images), _logits(other, images), rtol=1e-4, atol=1e-5
    )  # float32: fused differently


def test_scanned_programs_hold_as_many_products_at_any_depth():
    """Forward and backward: what takes the compiler long does not grow from 50 to 200 layers."""

    def products(depth):
        arch = f"vanilla_resnet{depth}_tat_lrelu"
        graphdef, params = split(create_model(arch, scan=True, abstract=True, **SMALL))
        images = jax.ShapeDtypeStruct(IMAGES, jnp.float32)
        gradient = jax.grad(lambda p, x: jnp.mean(merge(graphdef, p)(x) ** 2))
        program = str(jax.make_jaxpr(gradient)(params, images))
        return program.count("conv_general_dilated["), program.count("dot_general[")

    assert products(50) == products(200)


def test_remat_keeps_what_its_name_says():
    """Bytes of an image that autodiff keeps, against a count of the feature maps by hand."""

    def kept(remat):
        batch = 7  # no other first dimension has this size
        model = create_model(
            "vanilla_resnet50_tat_lrelu", abstract=True, dtype="bfloat16", remat=remat
        )
        graphdef, params = split(model)

        def backward(params, images):
            return jax.vjp(lambda p: merge(graphdef, p)(images).sum(), params)[1]

        images = jax.ShapeDtypeStruct((batch, 224, 224, 3), jnp.float32)
        leaves = jax.tree.leaves(jax.eval_shape(backward, params, images))
        mine = [leaf for leaf in leaves if leaf.shape[:1] == (batch,)]
        return sum(leaf.size * leaf.dtype.itemsize for leaf in mine) / batch

    bytes_of = {remat: kept(remat) for remat in ("none", "activations", "blocks")}
    inside, between = 0, 0  # values of the first two products of a block; of its output
    side_before = 56
    for stage, (blocks, side) in enumerate(zip((3, 4, 6, 3), (56, 28, 14, 7), strict=True)):
        width = 64 * 2**stage
        inside += width * (side_before**2 + (2 * blocks - 1) * side**2)
        between += 4 * width * blocks * side**2
        side_before = side
    assert bytes_of["activations"] - bytes_of["blocks"] == 2 * inside
    stem = 2 * (112**2 * 64 + 56**2 * 64 + 224**2 * 4)  # product, pooled, image
    assert bytes_of["blocks"] == pytest.approx(2 * between + stem, rel=0.15)  # pooling keeps more
    assert bytes_of["none"] > 1.8 * bytes_of["activations"]


def test_names_sort_by_depth():
    names = list(split(create_model("vanilla_resnet101_eoc_relu", abstract=True))[1])
    assert "stages.2.blocks.07.conv1.kernel" in names
    assert names == sorted(names)


def test_split_and_merge_are_inverse(images):
    model = create_model("vanilla_resnet18_tat_lrelu", **SMALL)
    graphdef, params = split(model)
    again = split(merge(graphdef, params))[1]
    assert list(again) == list(params)
    assert all((again[name] == params[name]).all() for name in params)


@pytest.mark.parametrize("depth", [18, 50, 200])
def test_parameter_counts_are_those_of_the_published_layout(depth):
    model = create_model(f"vanilla_resnet{depth}_eoc_relu", abstract=True)
    assert sum(leaf.size for leaf in split(model)[1].values()) == _count(depth)


def _count(depth):
    """Weights by hand: biases and the fourth input channel included, no projections."""
    blocks = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 200: (3, 24, 36, 3)}[depth]
    total, inputs = 7 * 7 * 4 * 64 + 64, 64
    for stage, count in enumerate(blocks):
        inner = 64 * 2**stage
        outputs = inner if depth == 18 else 4 * inner
        for _ in range(count):
            if depth == 18:
                kernels = [(9, inputs, outputs), (9, outputs, outputs)]
            else:
                kernels = [(1, inputs, inner), (9, inner, inner), (1, inner, outputs)]
            total += sum(taps * m * n + n for taps, m, n in kernels)
            inputs = outputs
    return total + inputs * 1000 + 1000


def test_feature_maps_have_the_announced_shape():
    model = create_model("vanilla_resnet50_tat_lrelu", width=0.125, num_classes=5, abstract=True)
    graphdef, params = split(model)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)

    def shapes(call):
        return jax.eval_shape(lambda p, x: call(merge(graphdef, p), x), params, images)

    assert [m.shape for m in shapes(lambda m, x: m.feature_maps(x))] == [
        (2, 64 // info.stride, 64 // info.stride, info.channels) for info in model.feature_info
    ]
    assert shapes(lambda m, x: m.embed(x)).shape == (2, 256)
    assert shapes(lambda m, x: m(x)).shape == (2, 5)


def test_bfloat16_computes_narrow_and_answers_float32(images):
    model = create_model("vanilla_resnet18_tat_lrelu", dtype="bfloat16", **SMALL)
    assert split(model)[1]["stem.kernel"].dtype == jnp.float32
    assert model.features(images).dtype == jnp.bfloat16
    assert model(images).dtype == jnp.float32


@pytest.mark.parametrize("shape", [(2, 16, 16, 1), (16, 16, 3)])
def test_wrong_input_names_what_is_expected(shape):
    model = create_model("vanilla_resnet18_tat_lrelu", **SMALL)
    with pytest.raises(ValueError, match=r"\[batch, height, width, 3\] expected"):
        model(jnp.ones(shape))


@pytest.mark.fault("E12")
def test_dropout_only_with_a_key(images):
    model = create_model("vanilla_resnet18_tat_lrelu", dropout_rate=0.5, **SMALL)
    assert (model(images) == model(images)).all()
    dropped = model(images, dropout_key=jax.random.key(0))
    assert (dropped != model(images)).any()
    assert (dropped == model(images, dropout_key=jax.random.key(0))).all()


@pytest.mark.parametrize("id", ["vanilla_resnet18_tat_lrelu", "rescaled_resnet50_eoc_relu"])
def test_block_outputs_are_the_forward_pass_by_name(id, images):
    model = create_model(id, **SMALL)
    graphdef, params = split(model)
    outputs, maps = jax.jit(
        lambda p, x: (merge(graphdef, p).block_outputs(x), merge(graphdef, p).feature_maps(x))
    )(params, images)
    blocks = {name.rpartition(".conv")[0] for name in params if ".conv" in name}
    assert set(outputs) == blocks | {"stem"}
    last = [max(name for name in outputs if name.startswith(f"stages.{i}")) for i in range(4)]
    for name, feature_map in zip(last, maps, strict=True):
        np.testing.assert_allclose(outputs[name], feature_map, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_images_that_nobody_normalised_are_refused(dtype):
    model = create_model("vanilla_resnet18_he_relu", stem="cifar", width=0.0625, num_classes=3)
    with pytest.raises(ValueError, match=f"images are {dtype}; normalise them: model.preprocess"):
        model(np.zeros((1, 8, 8, 3), dtype))
