"""A run whose data lies on the device is the run on batches from the host."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.training.tiny import BASE, SOLVED, digest, tiny
from zoo.data import Augmentation
from zoo.training import ConfigError, fit, prepare, read_metrics, validate

AUGMENTED = tiny(augmentation=Augmentation(crop_padding=1, flip=True))
RESIDENT = dataclasses.replace(AUGMENTED, data=dataclasses.replace(BASE.data, resident=True))


def train(config, workdir, **options):
    return fit(config, workdir, solved=SOLVED, progress=False, **options)


def test_losses_are_those_of_the_host_and_resume_is_bitwise(tmp_path):
    for stop in (3, 7, None):
        stopped = train(RESIDENT, tmp_path / "stopped", stop_after=stop)
    whole = train(RESIDENT, tmp_path / "whole")
    assert digest(stopped.state) == digest(whole.state)
    train(AUGMENTED, tmp_path / "host")
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name) if "loss" in line]
        for name in ("whole", "host")
    ]
    assert len(losses[0]) == 12
    np.testing.assert_allclose(*losses, rtol=1e-5)  # float32: another program, fused differently


def test_only_numbers_of_examples_leave_the_host():
    run = prepare(RESIDENT, solved=SOLVED)
    state, step = run.initial_state(), run.compile()[0]
    batch = run.place(next(run.batches(0)))
    assert {name: leaf.shape for name, leaf in batch.items()} == {"index": (16,), "epoch": (16,)}
    with jax.transfer_guard("disallow"):
        state, _ = step(state, batch)
    assert int(state.step) == 1


def test_what_only_the_host_can_do_is_refused():
    policy = Augmentation(color_jitter=0.4, rand_augment="rand-m9-n2")
    data = dataclasses.replace(RESIDENT.data, bad_examples="skip")
    with pytest.raises(ConfigError, match="color_jitter=0.4: on the device there are") as caught:
        validate(dataclasses.replace(RESIDENT, augmentation=policy, data=data))
    assert "rand_augment='rand-m9-n2'" in str(caught.value)
    assert "bad_examples='skip'; allowed: error" in str(caught.value)
