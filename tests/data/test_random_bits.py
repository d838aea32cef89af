"""The counter-based generator: published vectors, host equals device, uniform orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.data.random_bits import (
    STREAM_CROP,
    epoch_order,
    example_generator,
    example_words,
    threefry2x32,
)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_known_answers(counter, key, words):
    # Known-answer file of Random123, threefry2x32 with 20 rounds.
    assert tuple(int(word[0]) for word in threefry2x32(np, key, counter)) == words


def test_host_and_device_draw_the_same_bits():
    epochs, indices = np.arange(100) // 60, np.arange(100) * 40_000_000
    host = example_words(np, 2**32 - 5, epochs, indices, STREAM_CROP)
    device = jax.jit(
        lambda epochs, indices: example_words(jnp, 2**32 - 5, epochs, indices, STREAM_CROP)
    )(epochs.astype(np.uint32), indices.astype(np.uint32))
    for one, other in zip(host, device, strict=True):
        assert one.dtype == np.uint32 and np.array_equal(one, np.asarray(other))


@pytest.mark.parametrize("size", [1, 2, 7, 1437])
def test_an_epoch_visits_every_example_once(size):
    orders = [epoch_order(seed, epoch, size) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(size))
    if size > 7:
        assert len({order.tobytes() for order in orders}) == 4


def test_orders_are_uniform_over_permutations():
    counts: dict[bytes, int] = {}
    for epoch in range(2400):
        order = epoch_order(3, epoch, 4).tobytes()
        counts[order] = counts.get(order, 0) + 1
    chi_square = sum((count - 100) ** 2 / 100 for count in counts.values())
    assert len(counts) == 24
    assert chi_square < 23 + 4 * np.sqrt(2 * 23)  # mean 23, four standard deviations


def test_generators_differ_by_example_epoch_seed_and_stream():
    draws = {
        example_generator(*numbers).random()
        for numbers in [(0, 0, 0, 3), (1, 0, 0, 3), (0, 1, 0, 3), (0, 0, 1, 3), (0, 0, 0, 4)]
    }
    assert len(draws) == 5
    assert example_generator(5, 6, 7, 3).random() == example_generator(5, 6, 7, 3).random()
