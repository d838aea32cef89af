"""Mixup, CutMix and random erasing on the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.data import cutmix, mixup, random_erasing

BATCH, SIDE, CLASSES = 6, 16, 4
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, SIDE, SIDE, 3)), jnp.float32)
ONEHOT = jax.nn.one_hot(jnp.arange(BATCH) % CLASSES, CLASSES)


def keys(n: int) -> list[jax.Array]:
    return list(jax.random.split(jax.random.key(1), n))


def test_mixup_mixes_images_and_labels_with_one_share():
    for key in keys(5):
        images, labels = jax.jit(mixup, static_argnums=3)(key, IMAGES, ONEHOT, 0.5)
        # Row 0 has class 0, its partner (row 5) class 1: the label shows the share.
        share = labels[0, 0]
        expected = share * IMAGES + (1 - share) * IMAGES[::-1]
        assert images == pytest.approx(np.asarray(expected), abs=1e-5)  # float32
        assert labels.sum(1) == pytest.approx(np.ones(BATCH), abs=1e-6)


def test_mixup_shares_follow_the_beta_distribution():
    n, alpha = 1000, 0.4

    @jax.jit
    @jax.vmap
    def share(key):
        return mixup(key, IMAGES[:, :1, :1], ONEHOT, alpha)[1][0, 0]

    shares = np.asarray(share(jax.random.split(jax.random.key(2), n)))
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(shares.mean() - 0.5) < 4 * np.sqrt(variance / n)
    # The fourth moment of a variable in [0, 1] about 1/2 is at most 1/16.
    assert abs(shares.var() - variance) < 4 * np.sqrt(1 / 16 / n)


def test_cutmix_labels_are_the_areas_of_the_pixels():
    seen = set()
    for key in keys(12):
        images, labels = jax.jit(cutmix, static_argnums=3)(key, IMAGES, ONEHOT, 1.0)
        foreign = np.asarray((images == IMAGES[::-1]).all(-1) & (images != IMAGES).any(-1))
        own = np.asarray((images == IMAGES).all(-1))
        assert np.all(own | foreign)
        share = own[0].mean()
        assert np.asarray(labels) == pytest.approx(
            np.asarray(share * ONEHOT + (1 - share) * ONEHOT[::-1]), abs=1e-6
        )
        rows, columns = np.nonzero(foreign[0])
        if rows.size:  # one full rectangle, the same in every image
            assert rows.size == np.ptp(rows) * np.ptp(columns) + np.ptp(rows) + np.ptp(columns) + 1
        assert np.all(foreign == foreign[:1])
        seen.add(round(float(share), 3))
    assert len(seen) > 6


def test_random_erasing_zeroes_one_rectangle_of_the_stated_area():
    images = jnp.ones((400, 40, 40, 3))
    erased = np.asarray(random_erasing(jax.random.key(3), images, 0.25)) == 0
    hit = erased.any((1, 2, 3))
    assert abs(hit.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 400)
    for mask in erased[hit][..., 0]:
        rows, columns = np.nonzero(mask)
        assert mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        # Sides are rounded: half a pixel of about six at the smallest.
        assert 0.02 * 0.8 < mask.mean() < 1 / 3 * 1.1
    assert np.array_equal(random_erasing(jax.random.key(0), images, 0.0), images)
    assert np.all((np.asarray(random_erasing(jax.random.key(0), images, 1.0)) == 0).any((1, 2, 3)))


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_mixing_is_a_function_of_the_key_and_keeps_the_dtype(mix):
    one, other = keys(2)
    changed = jax.jit(lambda key, images: mix(key, images, ONEHOT, 0.5)[0])
    assert jnp.array_equal(changed(one, IMAGES), changed(one, IMAGES))
    assert not jnp.array_equal(changed(one, IMAGES), changed(other, IMAGES))
    assert changed(one, IMAGES.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_random_erasing_keeps_the_dtype():
    low = IMAGES.astype(jnp.bfloat16)
    assert random_erasing(jax.random.key(0), low, 1.0).dtype == jnp.bfloat16


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_settings_outside_their_range_are_refused(mix):
    with pytest.raises(ValueError, match="alpha is 0"):
        mix(jax.random.key(0), IMAGES, ONEHOT, 0)
    with pytest.raises(ValueError, match="prob is 1.5"):
        random_erasing(jax.random.key(0), IMAGES, 1.5)
