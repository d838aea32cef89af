"""Batches made on the device are those of the host, bit for bit."""

import itertools

import jax
import numpy as np
import pytest

from zoo.data import Augmentation, Preprocessing, TrainPipeline, open_source
from zoo.data.records import ArraySource
from zoo.data.resident import resident_arrays, resident_batch, resident_orders


def _source(n, size):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (n, *size, 3), np.uint8)
    return ArraySource("noise", "train", "abc", images, generator.integers(0, 3, n))


def _check(pipeline, steps, start=0):
    """Every step's batch, made in one compiled function, equals the host's."""
    arrays = jax.device_put(resident_arrays(pipeline))
    make = jax.jit(
        lambda arrays, order: resident_batch(arrays, order, pipeline.seed, pipeline.augmentation)
    )
    orders = itertools.islice(resident_orders(pipeline, start), steps)
    for step, order in enumerate(orders, start):
        expected, found = pipeline.batch(step), make(arrays, order)
        for name in ("image", "label"):
            assert found[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(flip=True),
        Augmentation(crop_padding=4),
        Augmentation(crop_padding=3, flip=True),
    ],
    ids=["none", "flip", "crop", "both"],
)
def test_device_batches_are_the_hosts(augmentation):
    """45 examples in batches of 16: batches span epochs, which differ in order and draws."""
    pipeline = TrainPipeline(
        _source(45, (12, 10)), Preprocessing((12, 10)), augmentation, batch_size=16, seed=2**31 - 1
    )
    _check(pipeline, 9)


def test_late_steps_and_large_epochs_are_the_hosts():
    pipeline = TrainPipeline(
        _source(20, (8, 8)), Preprocessing((8, 8)), Augmentation(crop_padding=1, flip=True),
        batch_size=20, seed=7,
    )  # fmt: skip
    _check(pipeline, 3, start=100_000)


def test_images_that_need_resizing_are_resized_once():
    pipeline = TrainPipeline(
        _source(1100, (9, 6)), Preprocessing((6, 6)), Augmentation(crop_padding=1, flip=True),
        batch_size=64, seed=0,
    )  # fmt: skip
    _check(pipeline, 2)


def test_parts_of_processes_are_the_hosts():
    pipeline = TrainPipeline(
        open_source("digits", "train"), Preprocessing((8, 8), mean=(0.3,), std=(0.3,), channels=1),
        Augmentation(crop_padding=1), batch_size=64, seed=0, process_index=1, process_count=2,
    )  # fmt: skip
    _check(pipeline, 2)
