"""Crops, flips, colours and RandAugment on the host."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from zoo.data import Augmentation, Preprocessing
from zoo.data.augmentation import color_jitter, random_crop_flip, random_resized_crop
from zoo.data.rand_augment import OPERATIONS, RandAugment
from zoo.data.random_bits import STREAM_CROP, STREAM_FLIP, example_words

GENERATOR = np.random.default_rng(2)
IMAGES = GENERATOR.integers(0, 256, (64, 9, 11, 3), dtype=np.uint8)
EPOCHS, INDICES = np.repeat([4, 5], 32), np.arange(64) * 31


def crop_and_flip_one(image: np.ndarray, down: int, right: int, mirror: bool, padding: int):
    """Pad with black, cut, mirror: one image, written plainly."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    cut = padded[down : down + height, right : right + width]
    return cut[:, ::-1] if mirror else cut


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [False, True])
def test_the_batch_form_equals_one_image_at_a_time(padding, flip):
    result = random_crop_flip(np, IMAGES, 7, EPOCHS, INDICES, padding=padding, flip=flip)
    crops = example_words(np, 7, EPOCHS, INDICES, STREAM_CROP)
    mirrors = example_words(np, 7, EPOCHS, INDICES, STREAM_FLIP)[0] >> 31
    for i, image in enumerate(IMAGES):
        down, right = (int(word[i] % (2 * padding + 1)) for word in crops)
        expected = crop_and_flip_one(image, down, right, bool(flip and mirrors[i]), padding)
        assert np.array_equal(result[i], expected)
    assert result.dtype == np.uint8


def test_the_device_makes_the_same_crops_and_flips_bit_for_bit():
    host = random_crop_flip(np, IMAGES, 7, EPOCHS, INDICES, padding=4, flip=True)

    @jax.jit
    def on_device(images, epochs, indices):
        return random_crop_flip(jnp, images, 7, epochs, indices, padding=4, flip=True)

    assert np.array_equal(host, np.asarray(on_device(IMAGES, EPOCHS, INDICES)))


def test_crops_and_flips_are_uniform():
    n, padding = 20_000, 2
    images = np.zeros((n, 5, 5, 1), np.uint8)
    images[:, 2, 2] = 1  # the marked pixel tells the shift
    marked = random_crop_flip(
        np, images, 0, np.zeros(n, int), np.arange(n), padding=padding, flip=False
    )
    _, rows, columns, _ = np.nonzero(marked)
    counts = np.zeros((5, 5))
    np.add.at(counts, (rows, columns), 1)
    share = 1 / 25
    assert np.abs(counts / n - share).max() < 4 * np.sqrt(share * (1 - share) / n)
    images[:] = 0
    images[:, 0, 0] = 1
    flipped = random_crop_flip(np, images, 0, np.zeros(n, int), np.arange(n), padding=0, flip=True)
    assert abs(flipped[:, 0, -1].mean() - 0.5) < 4 * 0.5 / np.sqrt(n)


def test_switching_one_augmentation_on_leaves_the_draws_of_another():
    crop = Augmentation(crop_padding=2).batch(IMAGES, 1, EPOCHS, INDICES)
    both = Augmentation(crop_padding=2, flip=True).batch(IMAGES, 1, EPOCHS, INDICES)
    same = [np.array_equal(a, b) for a, b in zip(crop, both, strict=True)]
    mirrored = [np.array_equal(a[:, ::-1], b) for a, b in zip(crop, both, strict=True)]
    # A mirrored crop has mirrored content, cut at the same offset from the other side or equal.
    assert 10 < sum(same) < 54
    assert all(one or other for one, other in zip(same, mirrored, strict=True))


def test_random_resized_crop_has_the_stated_area_and_proportions():
    preprocessing = Preprocessing((16, 16), interpolation="nearest")
    height, width = 120, 150
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(height)[:, None], np.arange(width)[None, :]
    shares, aspects = [], []
    for seed in range(400):
        cut = random_resized_crop(ramp, preprocessing, (0.2, 0.6), np.random.default_rng(seed))
        # 15 of the 16 steps lie between the first and the last sampled row and column.
        rows = (int(cut[-1, 0, 0]) - int(cut[0, 0, 0])) * 16 / 15
        columns = (int(cut[0, -1, 1]) - int(cut[0, 0, 1])) * 16 / 15
        shares.append(rows * columns / (height * width))
        aspects.append(columns / rows)
    # The rounding of sides and samples is about one pixel in fifty.
    assert min(shares) > 0.2 * 0.94 and max(shares) < 0.6 * 1.06
    assert min(aspects) > 0.75 * 0.94 and max(aspects) < 4 / 3 * 1.06
    assert abs(np.mean(shares) - 0.4) < 4 * (0.4 / np.sqrt(12)) / 20 + 0.01


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 3), (400, 1, 1)])
def test_random_resized_crop_takes_any_proportions(shape):
    preprocessing = Preprocessing((8, 6))
    result = random_resized_crop(
        np.full(shape, 9, np.uint8), preprocessing, (0.08, 1.0), np.random.default_rng(0)
    )
    assert result.shape == (8, 6, 3) and np.all(result == 9)


def test_color_jitter_without_strength_changes_nothing_and_scales_brightness():
    picture = Image.fromarray(np.full((4, 4, 3), 100, np.uint8))
    unchanged = color_jitter(picture, 0.0, np.random.default_rng(0))
    assert np.array_equal(np.asarray(unchanged), np.asarray(picture))
    levels = [
        int(np.asarray(color_jitter(picture, 0.4, np.random.default_rng(seed)))[0, 0, 0])
        for seed in range(200)
    ]
    # On a uniform grey only brightness acts: 100 times 0.6 to 1.4.
    assert 58 <= min(levels) < 70 and 130 < max(levels) <= 140


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_every_rand_augment_operation_keeps_mode_and_size(name, channels, strength):
    array = IMAGES[0] if channels == 3 else IMAGES[0][..., 0]
    for negative in (False, True):
        for increasing in (False, True):
            result = OPERATIONS[name](Image.fromarray(array), strength, negative, increasing)
            assert np.asarray(result).shape == array.shape


@pytest.mark.parametrize(
    "name",
    ["rotate", "shear_x", "shear_y", "translate_x", "translate_y", "color", "contrast", "sharpness"]
    + ["brightness", "solarize", "solarize_add"],
)
def test_increasing_operations_do_nothing_at_strength_zero(name):
    picture = Image.fromarray(IMAGES[1])
    result = OPERATIONS[name](picture, 0.0, False, True)
    assert np.array_equal(np.asarray(result), IMAGES[1])


def test_translations_move_by_the_stated_share():
    image = np.zeros((20, 20), np.uint8)
    image[10, 10] = 200
    moved = OPERATIONS["translate_x"](Image.fromarray(image), 1.0, True, False)
    assert np.argwhere(np.asarray(moved) == 200).tolist() == [[10, 19]]  # 0.45 of 20 pixels


def test_rand_augment_reads_its_policy():
    parsed = RandAugment.parse("rand-m7-n3-mstd0.5-inc1-p0.25")
    assert parsed == RandAugment(7.0, 3, 0.5, True, 0.25)
    assert RandAugment.parse("rand") == RandAugment()
    for wrong in ("rand-m11", "rand-x2", "autoaug", "rand-m9-n2-", "rand-p2"):
        with pytest.raises(ValueError, match="rand_augment is"):
            RandAugment.parse(wrong)


def test_rand_augment_applies_every_operation_about_equally_often():
    picture = Image.fromarray(IMAGES[2])
    changed = sum(
        not np.array_equal(
            np.asarray(RandAugment.parse("rand-m9-n1-p1")(picture, np.random.default_rng(seed))),
            IMAGES[2],
        )
        for seed in range(300)
    )
    assert changed > 270  # auto contrast, say, may find nothing to do
    never = RandAugment.parse("rand-m9-n5-p0")(picture, np.random.default_rng(0))
    assert np.array_equal(np.asarray(never), IMAGES[2])


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_padding": -1},
        {"color_jitter": -0.1},
        {"random_resized_crop": (0.5, 0.2)},
        {"random_resized_crop": (0.0, 1.0)},
        {"rand_augment": "strong"},
    ],
)
def test_settings_outside_their_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"augmentation: {next(iter(settings))} is"):
        Augmentation(**settings)


def test_an_augmentation_survives_json():
    augmentation = Augmentation(1, True, (0.08, 1.0), 0.4, "rand-m9-n2")
    stored = dataclasses.asdict(augmentation)
    assert Augmentation(**{**stored, "random_resized_crop": [0.08, 1.0]}) == augmentation
