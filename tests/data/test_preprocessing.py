"""The evaluation transform against Pillow sequences written independently here."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from zoo.data import BadImageError, Preprocessing, decode_image

IMAGENET = Preprocessing((224, 224), crop_pct=0.875)
GENERATOR = np.random.default_rng(5)


def resize_short_side_and_crop(path, short: int, crop: int) -> np.ndarray:
    """Resize the short side (long side rounded down), cut the centre: the usual evaluation."""
    picture = Image.open(path).convert("RGB")
    width, height = picture.size
    if width < height:
        picture = picture.resize((short, int(short * height / width)), Image.Resampling.BICUBIC)
    else:
        picture = picture.resize((int(short * width / height), short), Image.Resampling.BICUBIC)
    left = int(round((picture.width - crop) / 2.0))
    top = int(round((picture.height - crop) / 2.0))
    return np.asarray(picture.crop((left, top, left + crop, top + crop)))


def test_center_mode_is_the_usual_evaluation_of_imagenet(imagenet_jpegs):
    for path in imagenet_jpegs[::4]:
        ours = IMAGENET.transform(decode_image(path))
        assert np.array_equal(ours, resize_short_side_and_crop(path, 256, 224)), path.name


def test_other_sizes_and_shares_follow_the_same_rule(imagenet_jpegs):
    for size, share, short in ((160, 0.95, 168), (64, 1.0, 64), (97, 0.9, 107)):
        preprocessing = Preprocessing((size, size), crop_pct=share)
        for path in imagenet_jpegs[:3]:
            expected = resize_short_side_and_crop(path, short, size)
            assert np.array_equal(preprocessing.transform(decode_image(path)), expected)


def test_squash_mode_resizes_both_sides_then_crops(imagenet_jpegs):
    preprocessing = Preprocessing((90, 120), 0.75, "squash", "bilinear")
    picture = Image.open(imagenet_jpegs[1]).convert("RGB")
    expected = picture.resize((160, 120), Image.Resampling.BILINEAR).crop((20, 15, 140, 105))
    assert np.array_equal(
        preprocessing.transform(decode_image(imagenet_jpegs[1])), np.asarray(expected)
    )


def test_border_mode_keeps_the_whole_image_on_the_mean_colour():
    preprocessing = Preprocessing((10, 10), crop_mode="border", interpolation="nearest")
    image = np.full((5, 10, 3), 200, np.uint8)
    expected = np.empty((10, 10, 3), np.uint8)
    expected[:] = (124, 116, 104)  # 255 times the mean
    expected[2:7] = 200
    assert np.array_equal(preprocessing.transform(image), expected)


def test_center_mode_covers_rectangles():
    preprocessing = Preprocessing((20, 40), interpolation="nearest")
    image = GENERATOR.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert np.array_equal(preprocessing.transform(image), image[10:30])


def test_images_of_the_right_size_are_left_alone():
    preprocessing = Preprocessing((8, 8), mean=(0.5,), std=(0.5,), channels=1)
    image = GENERATOR.integers(0, 256, (8, 8, 1), dtype=np.uint8)
    assert preprocessing.transform(image) is image
    assert not dataclasses.replace(preprocessing, crop_pct=0.8).keeps((8, 8, 1))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 1), (2, 3, 1)])
def test_one_pixel_and_one_line_images_are_handled(mode, shape):
    preprocessing = Preprocessing((32, 24), crop_pct=0.9, crop_mode=mode)
    result = preprocessing.transform(np.full(shape, 77, np.uint8))
    assert result.shape == (32, 24, 3) and result.dtype == np.uint8
    if mode != "border":
        assert np.all(result == 77)


def test_proportions_that_would_blow_up_are_refused():
    with pytest.raises(BadImageError, match="60000 x 1 pixels would become 15360000 x 256"):
        IMAGENET.transform(np.zeros((1, 60_000, 3), np.uint8))


def test_channels_are_repeated_or_reduced_to_luma():
    grey = GENERATOR.integers(0, 256, (6, 6, 1), dtype=np.uint8)
    colour = Preprocessing((6, 6)).transform(grey)
    assert np.array_equal(colour, np.repeat(grey, 3, 2))
    one = Preprocessing((6, 6), mean=(0.5,), std=(0.5,), channels=1)
    assert np.array_equal(one.transform(colour), grey)


def test_normalize_is_the_same_on_the_host_and_on_the_device():
    import jax.numpy as jnp

    images = GENERATOR.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    host = IMAGENET.normalize(images)
    exact = (images / 255 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)
    assert host.dtype == np.float32 and host == pytest.approx(exact, abs=1e-6)  # float32, |x| < 3
    device = IMAGENET.normalize(jnp.asarray(images))
    assert device.dtype == jnp.float32 and np.asarray(device) == pytest.approx(host, abs=1e-6)


def test_users_images_of_every_kind_give_the_same_input(tmp_path, imagenet_jpegs):
    path = imagenet_jpegs[2]
    picture = Image.open(path).convert("RGB")
    array = np.asarray(picture)
    rgba = np.dstack([array, np.full(array.shape[:2], 9, np.uint8)])
    results = [
        IMAGENET(item)
        for item in (path, str(path), path.read_bytes(), picture, array, [array], array[None], rgba)
    ]
    assert results[0].shape == (1, 224, 224, 3) and results[0].dtype == np.float32
    assert all(np.array_equal(result, results[0]) for result in results)
    assert IMAGENET([path, array[:300, :200]]).shape == (2, 224, 224, 3)
    assert IMAGENET(array[..., 0]).shape == (1, 224, 224, 3)


def test_a_damaged_file_opened_by_the_user_is_named(tmp_path, imagenet_jpegs):
    path = tmp_path / "half.jpg"
    path.write_bytes(imagenet_jpegs[0].read_bytes()[:9000])
    with Image.open(path) as picture, pytest.raises(BadImageError, match="half.jpg: damaged"):
        IMAGENET(picture)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((4, 4, 3)), r"float64 \[4, 4, 3\], allowed is uint8"),
        (np.zeros((4, 4, 5), np.uint8), r"uint8 \[4, 4, 5\]"),
        ([], "no images were given"),
        ("none.jpg", "none.jpg: cannot be read"),
    ],
)
def test_inputs_that_are_no_images_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        IMAGENET(given)


def test_a_preprocessing_survives_json():
    stored = json.dumps(dataclasses.asdict(IMAGENET))
    assert Preprocessing.from_dict(json.loads(stored)) == IMAGENET
    assert hash(Preprocessing.from_dict(json.loads(stored))) == hash(IMAGENET)
    with pytest.raises(ValueError, match=r"unknown keys \['resize'\]"):
        Preprocessing.from_dict({"image_size": [4, 4], "resize": 3})


def test_all_mistakes_come_in_one_message():
    with pytest.raises(ValueError) as caught:
        Preprocessing(
            (0, 4), crop_pct=1.5, crop_mode="centre", interpolation="cubic", std=(1, 0, 1)
        )
    for part in ("image_size", "crop_pct is 1.5", "'centre'", "'cubic'", "std is (1, 0, 1)"):
        assert part in str(caught.value)


@pytest.mark.fault("E13")
def test_stored_golden_pixels(imagenet_jpegs):
    """Means over 4 x 4 tiles of one image; a Pillow that resizes differently shows here.

    Regenerate: print `tiles.round(2)`.
    """
    (path,) = [path for path in imagenet_jpegs if path.name == "n01440764_tench.JPEG"]
    image = IMAGENET.transform(decode_image(path)).astype(np.float64)
    tiles = image.reshape(4, 56, 4, 56, 3).mean((1, 3, 4))
    golden = [
        [98.68, 99.25, 108.27, 103.95],
        [103.06, 105.49, 121.5, 111.96],
        [133.14, 153.1, 182.7, 165.62],
        [82.75, 83.98, 86.96, 86.88],
    ]
    assert tiles == pytest.approx(np.array(golden), abs=0.006)  # stored with two digits
