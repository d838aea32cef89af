"""Every id builds what it names, and ids nobody knows get a helpful answer."""

import contextlib
import dataclasses

import jax
import pytest
from flax import nnx

from tests.cases import ALL_MODELS, SMALL, STRUCTURES
from zoo.models import (
    Network,
    UnknownModelError,
    Variant,
    changed_options,
    create_model,
    graph_of,
    list_models,
    register_family,
    split,
    variant_of,
)
from zoo.shaping import ACTIVATIONS, DKS, TAT, ShapedActivation

NONLINEAR_DEPTH = {18: 17, 34: 33, 50: 49, 101: 100, 152: 151, 200: 199}


def test_ids_cover_depths_and_methods():
    methods = ("tat_lrelu", "dks_softplus", "dks_tanh", "tat_tanh", "eoc_relu")
    vanilla = {f"vanilla_resnet{d}_{m}" for d in (18, 34, 50, 101, 152, 200) for m in methods}
    rescaled = {f"rescaled_resnet{d}_{m}" for d in (50, 101, 152, 200) for m in methods}
    assert vanilla | rescaled <= set(ALL_MODELS)


def test_there_is_an_id_for_every_activation_that_a_method_takes():
    taken = {}
    for method in (DKS, TAT):
        for name in ACTIVATIONS.keys() - {"silu"}:  # another name of swish
            with contextlib.suppress(ValueError):
                short = "lrelu" if name == "leaky_relu" else name
                taken[f"{method.__name__.lower()}_{short}"] = method(name)
    assert len(taken) == 17 + 15
    for suffix, method in taken.items():
        for depth in (18, 200):
            assert variant_of(f"vanilla_resnet{depth}_{suffix}").shaping == (method,)
            method.solve(NONLINEAR_DEPTH[depth])  # raises if there are no constants


@pytest.mark.slow
def test_every_shaped_id_is_solved_in_its_own_network():
    for id in ALL_MODELS:
        if variant_of(id).shaping:
            assert create_model(id, abstract=True, width=0.0625, stem="cifar").activations


def test_patterns_filter_and_sort_by_depth():
    assert list_models("vanilla*_tat_lrelu") == [
        f"vanilla_resnet{depth}_tat_lrelu" for depth in (18, 34, 50, 101, 152, 200)
    ]


def test_unknown_id_names_the_nearest():
    with pytest.raises(UnknownModelError, match="nearest: vanilla_resnet50_tat_lrelu"):
        create_model("vanila_resnet50_tat_lrelu")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"widht": 0.5}, "unknown option widht; allowed: num_classes"),
        ({"width": 0}, "width=0; give a positive factor"),
        ({"stem": "large"}, "stem='large'; allowed: imagenet, cifar"),
        ({"num_classes": -1, "dropout_rate": 1}, "num_classes=-1.*dropout_rate=1"),
        ({"depth": 51}, "depth=51; allowed: 18, 34, 50"),
        ({"shortcut_weight": 1}, r"shortcut_weight=1; give \[0, 1\)"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(overrides, sentence):
    with pytest.raises(ValueError, match=sentence):
        create_model("vanilla_resnet18_tat_lrelu", **overrides)


@pytest.mark.parametrize("id", ["vanilla_resnet18_eoc_relu", "Vanilla", "a-b", "../a", ""])
def test_register_refuses_taken_and_unsafe_ids(id):
    with pytest.raises(ValueError, match="taken|allowed"):

        @register_family
        class Family(Network):
            @classmethod
            def variants(cls):
                return {id: Variant(None)}


@pytest.mark.parametrize("id", STRUCTURES)
def test_nonlinear_depth_is_what_the_name_claims(id):
    model = create_model(id, abstract=True, **SMALL)
    assert graph_of(model).nonlinear_depth == NONLINEAR_DEPTH[model.config.depth]


@pytest.mark.parametrize(
    ("depth", "slope"), [(50, 0.4259071946), (101, 0.5704395324), (152, 0.6386479139)]
)
def test_published_negative_slopes(depth, slope):
    """The slopes of the authors' released networks, arXiv 2203.08120."""
    model = create_model(f"vanilla_resnet{depth}_tat_lrelu", abstract=True)
    assert model.activation.negative_slope == pytest.approx(slope, abs=1e-8)


def test_a_solved_activation_is_taken_as_it_is():
    activation = ShapedActivation("tanh", input_scale=0.5)
    model = create_model("vanilla_resnet18_dks_softplus", activation=activation, abstract=True)
    assert model.activation == activation


def test_another_method_may_replace_the_ids_own():
    model = create_model("vanilla_resnet18_tat_lrelu", shaping=DKS("tanh"), abstract=True)
    assert model.activations == (DKS("tanh").solve(17),)


def test_options_rebuild_the_same_structure():
    model = create_model("rescaled_resnet50_tat_tanh", dtype="bfloat16", abstract=True, **SMALL)
    id = "rescaled_resnet50_tat_tanh"
    options = changed_options(model.config, id)
    again = create_model(id, activation=model.activations, abstract=True, **options)
    assert dataclasses.asdict(again.config) == dataclasses.asdict(model.config)
    assert jax.tree.leaves(nnx.state(again)) == jax.tree.leaves(nnx.state(model))


def test_seeds_decide_the_weights():
    def stem(seed):
        model = create_model("vanilla_resnet18_eoc_relu", seed=seed, **SMALL)
        return split(model)[1]["stem.kernel"]

    assert (stem(1) == stem(1)).all()
    assert (stem(1) != stem(2)).any()
