"""A layout says what the traced forward pass does: same parameters, same order, same layers."""

import jax
import jax.numpy as jnp
import pytest

from tests.cases import SHALLOWEST, SMALL, small
from zoo.models import (
    Layer,
    NotAChainError,
    Part,
    Sum,
    create_model,
    distance_to_head,
    layers_of,
    merge,
    parameters_of,
    part_index,
    split,
)


def _model(id, **options):
    return create_model(id, abstract=True, **{**SMALL, **options})


def _flat(layers):
    """All layers of a part, those of every branch too, in the order of the branches."""
    for layer in layers:
        if isinstance(layer, Sum):
            for branch in layer.branches:
                yield from _flat(branch)
        else:
            yield layer


def _all_layers(model):
    return [layer for part in model.layout for layer in _flat(part.layers)]


def _equations(jaxpr):
    """Every equation, those of called functions in place of the call."""
    for equation in jaxpr.eqns:
        inner = [v for v in equation.params.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
        if equation.primitive.name in ("pjit", "jit", "custom_jvp_call", "remat2", "checkpoint"):
            for one in inner:
                yield from _equations(getattr(one, "jaxpr", one))
        else:
            yield equation


def _traced(model, size=32):
    graphdef, params = split(model)
    images = jax.ShapeDtypeStruct((1, size, size, model.config.in_channels), jnp.float32)
    return jax.make_jaxpr(lambda p, x: merge(graphdef, p)(x))(params, images).jaxpr


@pytest.mark.parametrize("id", SHALLOWEST)
def test_every_parameter_belongs_to_one_part_and_one_layer(id):
    model = create_model(id, abstract=True, **small(id))
    names = list(split(model)[1])
    named = [layer.name for layer in _all_layers(model) if layer.name]
    assert len(set(named)) == len(named)
    for name in names:
        assert sum(part.owns(name) for part in model.layout) == 1
        assert sum((name + ".").startswith(layer + ".") for layer in named) == 1
    assert all(any((n + ".").startswith(layer + ".") for n in names) for layer in named)


@pytest.mark.parametrize("id", SHALLOWEST)
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_layers_are_those_of_the_traced_forward_pass(id, stem):
    """Products by the shape of their weights, activations and pooling, each as often and in order.

    The order of a sum's branches is free: what is compared in order has no shortcuts.
    """
    model = create_model(id, abstract=True, **small(id, stem=stem))
    params = split(model)[1]
    layers = _all_layers(model)
    expected = [
        (params[f"{layer.name}.kernel"].shape[-2:], layer.stride)
        for layer in layers
        if f"{layer.name}.kernel" in params
    ]
    kinds = [layer.kind for layer in layers]
    products, activations, pools = [], 0, 0
    for equation in _equations(_traced(model)):
        name = equation.primitive.name
        if name == "conv_general_dilated":
            shape, stride = equation.invars[1].aval.shape[-2:], equation.params["window_strides"][0]
            products.append((shape, stride))
        elif name == "dot_general":
            products.append((equation.invars[1].aval.shape[-2:], None))  # its stride is a slice
        activations += name == "shaped_activation"
        pools += name == "reduce_window_max"
    if not any(isinstance(layer, Sum) for part in model.layout for layer in part.layers):
        assert [shape for shape, _ in products] == [shape for shape, _ in expected]
    assert sorted(shape for shape, _ in products) == sorted(shape for shape, _ in expected)
    known = [pair for pair in products if pair[1] is not None]
    assert all(pair in expected for pair in known)
    assert (activations, pools) == (kinds.count("activation"), kinds.count("max_pool"))


def test_distance_counts_blocks_up_to_the_head():
    model = _model("vanilla_resnet18_eoc_relu")
    layout, names = model.layout, list(split(model)[1])
    distances = {name: distance_to_head(layout, name) for name in names}
    assert distances["head.kernel"] == 0 and distances["stem.kernel"] == 9
    assert distances["stages.3.blocks.1.conv2.bias"] == 1
    assert distances["stages.0.blocks.0.conv1.kernel"] == 8


def test_parts_are_found_by_whole_names():
    layout = (Part("stem", "stem", ()), Part("block", "stem2", ()), Part("head", "head", ()))
    assert part_index(layout, "stem.kernel") == 0 and part_index(layout, "stem2.kernel") == 1
    assert parameters_of(layout, ["stem2.a", "head", "stem.b"], "head", "stem") == [
        "head",
        "stem.b",
    ]
    with pytest.raises(ValueError, match="body.kernel belongs to no part"):
        part_index(layout, "body.kernel")


def test_only_a_chain_has_a_list_of_layers():
    assert [layer.kind for layer in layers_of(_model("vanilla_resnet18_eoc_relu").layout)][:3] == [
        "per_location",
        "conv",
        "activation",
    ]
    with pytest.raises(NotAChainError, match=r"stages.0.blocks.0 adds signal paths"):
        list(layers_of(_model("resnet18", input_norm="none").layout))
    assert Layer("conv") in list(_flat([Sum(((Layer("conv"),), ()), (1.0, 1.0))]))
