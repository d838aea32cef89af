"""Many steps in one call of the device are the same steps, and stop where a run has to stop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import json_from_8_devices
from tests.training.tiny import BASE, SOLVED, digest, optimizer, tiny
from zoo.checkpoint import list_steps
from zoo.data import Augmentation
from zoo.training import (
    BudgetSpent,
    CheckpointConfig,
    ConfigError,
    LogConfig,
    NonFiniteError,
    fit,
    prepare,
    read_metrics,
    validate,
)
from zoo.training.dispatch import repeated, stacked, steps_until

RESIDENT = tiny(
    augmentation=Augmentation(crop_padding=1, flip=True),
    data=dataclasses.replace(BASE.data, resident=True),
)
MANY = dataclasses.replace(RESIDENT, steps_per_dispatch=4, log=LogConfig(every_steps=6))

LOSSES_ON_8_DEVICES = """
import jax, json
from tests.training.test_dispatch import MANY
from tests.training.tiny import SOLVED
from zoo.training import prepare
run = prepare(MANY, solved=SOLVED)
state, step, batches, losses = run.initial_state(), run.compile()[0], run.batches(0), []
for count in (4, 1, 4, 3):
    batch = run.place(run.gather(batches, count))
    assert batch["index"].addressable_shards[0].data.shape == (4, 2)
    with jax.transfer_guard("disallow"):
        state, metrics = step(state, batch)
    losses += metrics["loss"][:count].tolist()
print(json.dumps([jax.device_count(), losses]))
"""


def train(config, workdir, **options):
    return fit(config, workdir, solved=SOLVED, progress=False, **options)


def losses(workdir) -> list[float]:
    return [line["loss"] for line in read_metrics(workdir) if "loss" in line]


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    """A run that logs every step, so that no dispatch makes two; and its losses."""
    folder = tmp_path_factory.mktemp("dispatch") / "one_by_one"
    result = train(dataclasses.replace(MANY, log=LogConfig(every_steps=1)), folder)
    return result.state, losses(folder)


def test_dispatches_of_many_steps_end_as_those_of_one_bit_for_bit(one_by_one, tmp_path):
    state, each = one_by_one
    many = train(MANY, tmp_path)
    assert digest(many.state) == digest(state)
    assert list_steps(tmp_path) == [8, 12]
    assert [line["step"] for line in read_metrics(tmp_path)] == [4, 6, 8, 12, 12]
    parts = (each[:4], each[4:6], each[6:8], each[8:])
    assert losses(tmp_path) == [sum(part) / len(part) for part in parts]


def test_three_budgets_end_as_one_run_bit_for_bit(one_by_one, tmp_path):
    with pytest.raises(BudgetSpent, match="step 1 is saved"):  # compilation alone takes longer
        train(MANY, tmp_path, time_budget=0.1)
    assert train(MANY, tmp_path, stop_after=7).step == 7
    assert digest(train(MANY, tmp_path, time_budget=3600.0).state) == digest(one_by_one[0])


def test_the_loop_makes_the_steps_of_the_plain_program(one_by_one, tmp_path):
    plain = train(dataclasses.replace(RESIDENT, steps_per_dispatch=1), tmp_path)
    np.testing.assert_allclose(losses(tmp_path), one_by_one[1], rtol=1e-5)
    for name, value in plain.state.params.items():
        # float32: another program, fused differently
        np.testing.assert_allclose(value, one_by_one[0].params[name], atol=1e-5)


def test_eight_devices_make_the_steps_of_one(one_by_one, monkeypatch):
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    count, on_eight = json_from_8_devices(LOSSES_ON_8_DEVICES)
    assert count == 8
    np.testing.assert_allclose(on_eight, one_by_one[1], rtol=1e-4)  # sums in another order


def test_one_program_makes_any_number_of_steps_without_the_host(count_compilations):
    run = prepare(MANY, solved=SOLVED)
    state, step, batches = run.initial_state(), run.compile()[0], run.batches(0)
    placed = [run.place(run.gather(batches, count)) for count in (4, 1, 3)]
    with count_compilations() as compilations, jax.transfer_guard("disallow"):
        for batch in placed:
            state, metrics = step(state, batch)
    assert int(state.step) == 8 and not compilations
    assert metrics["loss"].shape == (4,) and float(metrics["loss"][3]) == 0


@pytest.mark.slow
def test_a_run_that_diverges_names_the_step_inside_the_dispatch(tmp_path):
    wild = dataclasses.replace(
        MANY, optimizer=optimizer(learning_rate=1e9), checkpoint=CheckpointConfig(every_steps=0)
    )
    with pytest.raises(NonFiniteError, match=r"step \d is not finite: first in ") as caught:
        train(wild, tmp_path)
    assert 0 < caught.value.step < 6


def test_repeating_is_a_loop_over_the_rows():
    def step(total, batch):
        new = total + batch["index"].sum()
        return new, {"total": new, "layers": {"a": 2 * new}}

    orders = [{"index": np.full(3, number, np.int32)} for number in (1, 2, 3)]
    total, metrics = jax.jit(lambda *given: repeated(step, *given))(
        jnp.zeros((), jnp.int32), stacked(orders, 5)
    )
    assert int(total) == 18
    assert metrics["total"].tolist() == [3, 9, 18, 0, 0]
    assert metrics["layers"]["a"].tolist() == [6, 18, 36, 0, 0]
    for wrong in ([], orders * 2):
        with pytest.raises(ValueError, match="a dispatch takes 1 to 5"):
            stacked(wrong, 5)


@pytest.mark.parametrize(
    ("periods", "done", "last", "steps"),
    [((50, 0, 1000), 0, 120, 50), ((50, 0, 30), 20, 120, 10), ((0,), 7, 120, 113), ((4,), 4, 5, 1)],
)
def test_no_dispatch_crosses_a_boundary(periods, done, last, steps):
    assert steps_until(periods, done, last) == steps


def test_dispatches_of_several_steps_need_data_on_the_device():
    with pytest.raises(ConfigError, match="steps_per_dispatch=4: .*set data.resident=True"):
        validate(tiny(steps_per_dispatch=4))
    with pytest.raises(ConfigError, match="steps_per_dispatch=0: give a whole number >= 1"):
        validate(dataclasses.replace(RESIDENT, steps_per_dispatch=0))
    assert prepare(RESIDENT, solved=SOLVED).steps_per_dispatch == 1  # on CPU
