"""`ShapedActivation`: one primitive that behaves like its formula under every transformation."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from zoo.shaping import ACTIVATIONS, ShapedActivation, shaped_activation_p

SOLVED = [
    ShapedActivation("tanh", 0.0817, 0.5258, 15.94, -0.4832),
    ShapedActivation("softplus", 0.3266, 0.4094, 5.0948, -0.9313),
    ShapedActivation("leaky_relu", output_scale=1.3011, negative_slope=0.4259),
]


def plain(activation, x):
    slope = () if activation.negative_slope is None else (activation.negative_slope,)
    inner = activation.input_scale * x + activation.input_shift
    outer = activation.definition.value(inner, *slope) + activation.output_shift
    return activation.output_scale * outer


@pytest.fixture(params=SOLVED, ids=lambda activation: activation.phi)
def activation(request):
    return request.param


X = jnp.linspace(-3, 3, 24).reshape(2, 3, 4) + 0.01


def test_value_and_derivatives_are_those_of_the_formula(activation):
    for order in range(3):
        ours, formula = activation, lambda x: plain(activation, x)
        for _ in range(order):
            ours, formula = jax.grad(ours), jax.grad(formula)
        result = jax.vmap(ours)(X.ravel())
        np.testing.assert_allclose(result, jax.vmap(formula)(X.ravel()), rtol=2e-5, atol=2e-5)


def test_transformations_agree_with_the_eager_value(activation):
    def loss(x):
        return jnp.sum(activation(x) ** 2)

    expected = jax.grad(loss)(X)
    for transformed in (
        jax.jit(jax.grad(loss)),
        jax.grad(jax.jit(loss)),
        jax.grad(jax.checkpoint(loss)),
        jax.vmap(jax.grad(loss), in_axes=1, out_axes=1),
        jax.jit(jax.vmap(jax.grad(jax.checkpoint(loss)), in_axes=2, out_axes=2)),
    ):
        np.testing.assert_allclose(transformed(X), expected, rtol=1e-5, atol=1e-5)
    tangent = jax.jvp(activation, (X,), (X,))[1]
    np.testing.assert_allclose(jax.linearize(activation, X)[1](X), tangent, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_dtype_is_kept_and_rounding_happens_once(activation, dtype):
    x = X.astype(dtype)
    for out in (activation(x), jax.jit(activation)(x), jax.grad(lambda x: activation(x).sum())(x)):
        assert out.dtype == x.dtype
    exact = plain(activation, np.asarray(x, np.float64))
    # One rounding of the result, one of the float32 formula: half a unit in the last place each.
    tolerance = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(
        np.asarray(activation(x), np.float64), exact, rtol=tolerance, atol=2e-5
    )


def test_jaxpr_shows_one_primitive_and_compiled_code_none(activation):
    (eqn,) = jax.make_jaxpr(activation)(X).eqns
    assert eqn.primitive is shaped_activation_p
    assert eqn.params["activation"] == activation
    assert "custom_call" not in jax.jit(activation).lower(X).as_text()


def test_one_compilation_serves_all_calls_with_equal_constants():
    traces = []

    @jax.jit
    def call(x):
        traces.append(x)
        return SOLVED[0](x)

    for _ in range(3):
        call(X)
    assert len(traces) == 1


def test_export_needs_no_custom_primitive(activation):
    exported = jax.export.export(jax.jit(activation))(jax.ShapeDtypeStruct(X.shape, X.dtype))
    assert "custom_call" not in exported.mlir_module()
    np.testing.assert_allclose(exported.call(X), activation(X), rtol=1e-6, atol=1e-6)


def test_sharded_input_gives_sharded_output(activation):
    mesh = jax.make_mesh((1,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    out = jax.jit(activation)(jax.device_put(X, sharding))
    assert out.sharding.is_equivalent_to(sharding, X.ndim)


def test_scan_carries_it(activation):
    out, _ = jax.lax.scan(lambda x, _: (activation(x), None), X, length=2)
    np.testing.assert_allclose(out, activation(activation(X)), rtol=1e-6, atol=1e-5)


def test_it_is_a_constant_of_an_nnx_module():
    class Layer(nnx.Module):
        def __init__(self):
            self.kernel = nnx.Param(jnp.eye(4))
            self.activation = SOLVED[0]

        def __call__(self, x):
            return self.activation(x @ self.kernel[...])

    graphdef, state = nnx.split(Layer())
    assert len(jax.tree.leaves(state)) == 1
    assert hash(graphdef) == hash(nnx.split(Layer())[0])
    np.testing.assert_allclose(nnx.merge(graphdef, state)(X), SOLVED[0](X), rtol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_neutral_constants_give_phi(name):
    slope = (0.01,) if name == "leaky_relu" else ()
    value = ACTIVATIONS[name].value(X, *slope)
    np.testing.assert_allclose(ShapedActivation(name)(X), value, rtol=1e-5, atol=1e-6)


def test_json_form_is_its_fields(activation):
    text = json.dumps(dataclasses.asdict(activation))
    restored = ShapedActivation(**json.loads(text))
    assert restored == activation
    assert hash(restored) == hash(activation)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"phi": "tahn"}, "nearest: tanh"),
        ({"phi": "tanh", "negative_slope": 0.1}, "belongs to leaky_relu"),
        ({"phi": "tanh", "input_scale": float("nan")}, "not finite"),
        ({"phi": "tanh", "output_scale": 0}, "must not be 0"),
    ],
)
def test_constants_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ShapedActivation(**fields)


def test_integers_are_refused():
    with pytest.raises(ValueError, match="floating-point input, got int32"):
        SOLVED[0](jnp.arange(3))
