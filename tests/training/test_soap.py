"""SOAP: its updates against its paper's, what it is for, and in runs that are cut or sharded."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import json_from_8_devices
from tests.training.tiny import SOLVED, digest, optimizer, tiny
from zoo.checkpoint import list_steps
from zoo.training import (
    ConfigError,
    MeshConfig,
    OptimizerConfig,
    SoapConfig,
    fit,
    make_optimizer,
    validate,
)
from zoo.training.sharding import make_mesh, state_shardings
from zoo.training.soap import scale_by_soap

GOLDEN = Path(__file__).parent / "golden" / "soap.json"  # made by soap_steps.py beside it
# The last layers: what comes before them is the same for all optimisers.
RUN = tiny(
    steps=6,
    trainable=r"^(stages\.3\.blocks\.1\.conv2|head)\.",
    optimizer=optimizer(
        name="soap", learning_rate=3e-3, second_moment=0.95, soap=SoapConfig(basis_period=2)
    ),
)
ON_8_DEVICES = """
import jax, json
from tests.training.test_soap import directions
assert jax.device_count() == 8
print(json.dumps({name: found.tolist() for name, found in directions(fsdp=True).items()}))
"""


@functools.cache
def golden():
    return json.loads(GOLDEN.read_text())


def directions(*, fsdp=False):
    """All updates for the stored gradients, name -> [update, element], by a jitted program."""
    gradients = {n: jnp.asarray(g, jnp.float32) for n, g in golden()["gradients"].items()}
    soap = scale_by_soap(**golden()["settings"])
    config = MeshConfig(fsdp=fsdp)
    state = soap.init({name: given[0] for name, given in gradients.items()})
    shardings = state_shardings(jax.eval_shape(lambda: state), make_mesh(config), config)
    if fsdp:
        kept = (state.square, state.factors, state.bases)
        split = (shardings.square, shardings.factors, shardings.bases)
        for leaf, where in zip(kept, split, strict=True):
            first = jax.tree.leaves(leaf["square.kernel"])[0]
            place = jax.tree.leaves(where["square.kernel"])[0]
            assert place.shard_shape(first.shape) == (1, 8)
    state = jax.device_put(state, shardings)
    update = jax.jit(soap.update, out_shardings=(None, shardings))
    found = {name: [] for name in gradients}
    for step in range(len(gradients["bias"])):
        new, state = update({name: given[step] for name, given in gradients.items()}, state)
        for name, direction in new.items():
            found[name].append(np.ravel(direction))
    return {name: np.stack(rows) for name, rows in found.items()}


def test_updates_equal_those_of_the_paper():
    """Seven: the one left out, six steps and three refreshments of the eigenvectors."""
    for name, found in directions().items():
        np.testing.assert_allclose(found, golden()["directions"][name], atol=1e-5, err_msg=name)


def test_eight_devices_that_share_its_state_make_the_updates_of_the_paper():
    for name, found in json_from_8_devices(ON_8_DEVICES).items():
        np.testing.assert_allclose(found, golden()["directions"][name], atol=1e-5, err_msg=name)


def rotation(seed, side):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(side, side)))[0]


def spread(seed, side, condition):
    """Symmetric, the squares of its eigenvalues evenly spread in logarithm, in a random basis."""
    basis = rotation(seed, side)
    return jnp.asarray(basis * np.logspace(0, -np.log10(condition) / 2, side) @ basis.T)


def steps_to(fraction, config, rates, *, limit, side=16, depth=3):
    """Fewest steps, over the rates, to `fraction` of the first loss; `limit` if none gets there.

    loss = |A (W_1 ... W_depth - T) B|^2 / 2 side with conditions 1000 of A^2 and 100 of B^2: inputs
    and outputs of very unequal sizes, along axes that are not those of the weights.
    """
    before, after = spread(1, side, 1e3), spread(5, side, 1e2)
    target = jnp.asarray(rotation(3, side))
    start = {f"{i}.kernel": jnp.asarray(rotation(10 + i, side)) for i in range(depth)}

    def loss(params):
        product = functools.reduce(jnp.matmul, params.values(), before)
        return jnp.sum(((product - before @ target) @ after) ** 2) / (2 * side)

    @jax.jit
    def losses(rate):
        soap = make_optimizer(config)

        def step(carried, _):
            params, state = carried
            value, gradient = jax.value_and_grad(loss)(params)
            direction, state = soap.update(gradient, state, params)
            return (jax.tree.map(lambda p, d: p + rate * d, params, direction), state), value

        return jax.lax.scan(step, (start, soap.init(start)), None, length=limit)[1]

    curves = np.stack([losses(rate) for rate in rates])
    reached = curves < fraction * curves[:, :1]
    return int(np.where(reached.any(axis=1), reached.argmax(axis=1), limit).min())


def test_an_ill_conditioned_deep_linear_network_needs_a_fifth_of_the_steps_of_adamw():
    soap = OptimizerConfig("soap", second_moment=0.95)
    steps = steps_to(1e-5, soap, [0.01], limit=400)
    assert steps < 400
    rates = np.geomspace(1e-3, 0.1, 9)
    for second_moment in (0.95, 0.999):
        adamw = OptimizerConfig("adamw", second_moment=second_moment)
        assert steps_to(1e-5, adamw, rates, limit=5 * steps) == 5 * steps


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path):
    whole = fit(RUN, tmp_path / "whole", solved=SOLVED)
    fit(RUN, tmp_path / "cut", stop_after=3, solved=SOLVED)  # between two refreshments
    again = fit(RUN, tmp_path / "cut", solved=SOLVED)
    assert list_steps(tmp_path / "cut")[-1] == again.step == 6
    assert digest(again.state) == digest(whole.state)


def test_its_settings_are_checked():
    wrong = SoapConfig(preconditioner_decay=1.0, basis_period=0, largest_side=-1)
    with pytest.raises(ConfigError) as caught:
        validate(tiny(optimizer=optimizer(name="soap", soap=wrong)))
    for field in ("preconditioner_decay=1.0", "basis_period=0", "largest_side=-1"):
        assert f"optimizer.soap.{field}: give" in str(caught.value)
