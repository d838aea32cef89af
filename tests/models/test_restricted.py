"""Restricted updates: W = W_0 + beta dW, W_0 never trained, decay on dW alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.training.tiny import SOLVED, digest, optimizer, tiny
from zoo.models import create_model, fixed_of, graph_of, merge, split
from zoo.models.parameters import layer_at
from zoo.models.restricted import RestrictedConv, RestrictedDense
from zoo.training import ConfigError, fit, prepare

ARCH, BETA = "vanilla_resnet18_tat_lrelu", 0.25
OPTIONS = {"num_classes": 10, "stem": "cifar", "width": 0.0625, "in_channels": 1}
RUN = tiny(
    steps=4,
    model=tiny().model.with_options(update_scale=BETA),
    trainable=r"^(stages\.3|head)\.",
    optimizer=optimizer(learning_rate=0.1, weight_decay=0.1),
)


@pytest.fixture(scope="module")
def models():
    plain = create_model(ARCH, **OPTIONS)
    return plain, create_model(ARCH, **OPTIONS, update_scale=BETA)


def test_the_network_begins_as_the_same_function_with_the_same_kernel_graph(models):
    plain, restricted = models
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    assert np.array_equal(restricted(images), plain(images))
    assert restricted.activations == plain.activations
    assert graph_of(restricted) == graph_of(plain)
    assert restricted.layout == plain.layout


def test_kernels_are_zero_beside_what_they_begin_as_and_layers_tell_their_sum(models):
    plain, restricted = (split(model)[1] for model in models)
    kernels = [name for name in plain if name.endswith(".kernel")]
    for name in kernels:
        initial = name.removesuffix("kernel") + "initial"
        assert np.array_equal(restricted[initial], plain[name])
        assert not np.any(restricted[name])
    assert len(restricted) == len(plain) + len(kernels)
    assert fixed_of(models[1]) == {n.removesuffix("kernel") + "initial" for n in kernels}
    for name, kind in (("stem", RestrictedConv), ("head", RestrictedDense)):
        layer = layer_at(nnx.clone(models[1]), name)
        assert type(layer) is kind
        layer.kernel[...] = jnp.ones_like(layer.kernel[...])
        kernel, bias = layer.plain_weights()
        np.testing.assert_allclose(kernel, layer.initial[...] + BETA)
        assert np.array_equal(bias, layer.bias[...])


def test_its_gradient_is_beta_times_that_of_the_kernel(models):
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))

    def gradient(model):
        return jax.grad(lambda kernel: _loss(model, kernel, images))(model.head.kernel[...])

    plain, restricted = map(gradient, models)
    np.testing.assert_allclose(restricted, BETA * plain, rtol=1e-5, atol=1e-7)


def _loss(model, kernel, images):
    graphdef, params = split(model)
    return jnp.sum(merge(graphdef, {**params, "head.kernel": kernel})(images) ** 2)


@pytest.mark.slow
def test_a_run_trains_and_decays_the_difference_alone_and_ends_with_the_same_bits(tmp_path):
    start = jax.device_get(prepare(RUN, solved=SOLVED).initial_state().params)
    whole = fit(RUN, tmp_path / "whole", solved=SOLVED)
    found = jax.device_get(whole.state.params)
    assert np.any(found["head.kernel"]) and np.any(found["stages.3.blocks.1.conv2.kernel"])
    for name in found:
        if name.endswith("initial"):
            assert np.array_equal(found[name], start[name]), name
    fit(RUN, tmp_path / "cut", stop_after=2, solved=SOLVED)
    assert digest(fit(RUN, tmp_path / "cut", solved=SOLVED).state) == digest(whole.state)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"update_scale=0\.0; give a positive number or None"):
        create_model(ARCH, **OPTIONS, update_scale=0.0)
    config = tiny(
        model=RUN.model, optimizer=optimizer(name="kfac", clip_norm=None), trainable=r"^head\."
    )
    with pytest.raises(ConfigError, match="belongs to a RestrictedDense"):
        prepare(config, solved=SOLVED)
