"""A state saved on one set of devices is restored bit by bit on any other."""

import pytest

from tests.checkpoint.states import abstract, run_child, same_bits, state_at
from zoo.checkpoint import load_weights, read_checkpoint

ON_EIGHT = """
import sys
import jax
from jax.sharding import NamedSharding, PartitionSpec as P
from tests.checkpoint.states import abstract, same_bits, state_at
from zoo.checkpoint import RunCheckpoints, file_digests, load_weights, save_weights
run = sys.argv[1]
assert jax.device_count() == 8

def mesh(count):
    return jax.sharding.Mesh(jax.devices()[:count], ("data",))

def shardings(tree, count):
    def one(leaf):
        split = leaf.ndim > 1 and leaf.shape[0] % count == 0
        return NamedSharding(mesh(count), P("data") if split else P())
    return jax.tree.map(one, tree)

host = state_at(1)
state = jax.device_put(host, shardings(host, 8))
with RunCheckpoints(run) as checkpoints:
    checkpoints.save(1, state)
    for count in (1, 2, 3, 5, 8):
        target = jax.tree.map(
            lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s),
            host, shardings(host, count),
        )
        restored = checkpoints.restore(target).state
        assert same_bits(restored, host), count
        same = jax.tree.map(
        lambda a, s: a.sharding.is_equivalent_to(s, a.ndim), restored, shardings(host, count)
    )
    assert all(jax.tree.leaves(same)), count
params = dict(state.params)
save_weights(run + "/weights", params)
target = abstract(params, NamedSharding(mesh(4), P()))
assert same_bits(load_weights(run + "/weights", target), host.params)
"""


@pytest.mark.fault("B9")
def test_saved_on_eight_devices_and_restored_on_one_to_eight(tmp_path):
    run_child(ON_EIGHT, tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=8")
    host = state_at(1)
    assert same_bits(read_checkpoint(tmp_path, abstract(host)).state, host)
    weights = load_weights(tmp_path / "weights", abstract(host.params))
    assert same_bits(weights, host.params)


ON_ONE = """
import sys
from tests.checkpoint.states import state_at
from zoo.checkpoint import RunCheckpoints, save_weights
with RunCheckpoints(sys.argv[1]) as checkpoints:
    checkpoints.save(1, state_at(1))
save_weights(sys.argv[1] + "/weights", state_at(1).params)
"""
READ_ON_EIGHT = """
import sys
import jax
from jax.sharding import NamedSharding, PartitionSpec as P
from tests.checkpoint.states import abstract, same_bits, state_at
from zoo.checkpoint import load_weights, read_checkpoint
replicated = NamedSharding(jax.make_mesh((8,), ("data",)), P())
state = state_at(1)
assert same_bits(read_checkpoint(sys.argv[1], abstract(state, replicated)).state, state)
weights = load_weights(sys.argv[1] + "/weights", abstract(state.params, replicated))
assert same_bits(weights, state.params)
assert all(w.sharding == replicated for w in weights.values())
"""


@pytest.mark.fault("B9")
@pytest.mark.slow
def test_saved_on_one_device_and_restored_on_eight(tmp_path):
    run_child(ON_ONE, tmp_path)
    run_child(READ_ON_EIGHT, tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=8")
