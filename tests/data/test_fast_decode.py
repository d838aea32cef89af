"""Crops straight out of JPEG files: the same crops as Pillow's, up to rounding and resolution."""

import io
import itertools
import tarfile

import numpy as np
import pytest
from PIL import Image

from zoo.data import Augmentation, Preprocessing, TrainPipeline, open_source
from zoo.data import fast_decode as fast
from zoo.data.augmentation import crop_box, random_resized_crop
from zoo.data.decode import decode_image

NEEDED = pytest.mark.skipif(bool(fast.missing_libraries()), reason="extra `fast` is not installed")
SIZE = Preprocessing((64, 48))


def picture(height: int = 300, width: int = 411, seed: int = 0, cell: int = 20) -> Image.Image:
    """A smooth image of several colours, a change every `cell` pixels, and some fine structure."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height // cell, width // cell, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), 3), np.int32)
    noisy = smooth + generator.integers(-6, 7, smooth.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def both(data: bytes, preprocessing: Preprocessing, area: tuple[float, float], seed: int):
    """The fast crop and Pillow's of the same draws, as int32."""

    def draws():
        return np.random.default_rng(seed)

    quick = fast.crop_of_jpeg(data, lambda *s: crop_box(*s, area, draws()), preprocessing)
    exact = random_resized_crop(decode_image(data), preprocessing, area, draws())
    assert quick is not None and quick.shape == exact.shape and quick.dtype == np.uint8
    return quick.astype(np.int32), exact.astype(np.int32)


@NEEDED
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_at_full_resolution_only_the_rounding_differs(subsampling, interpolation):
    data = jpeg(picture(), subsampling=subsampling, restart_marker_rows=subsampling)
    preprocessing = Preprocessing((160, 160), interpolation=interpolation)
    for seed in range(4):  # crops of up to 300 x 411, so never half the resolution
        quick, exact = both(data, preprocessing, (0.05, 0.6), seed)
        assert np.abs(quick - exact).mean() < 0.4
        if interpolation == "bilinear":  # which cannot overshoot
            assert np.abs(quick - exact).max() <= 1


@NEEDED
def test_the_rows_that_are_decoded_are_those_of_the_whole_image():
    for subsampling, bottom in itertools.product((0, 1, 2), (1, 40, 113, 299)):
        data = jpeg(picture(), subsampling=subsampling)
        header = fast._sequential_header(data)
        assert header[1:] == (300, 411)
        rows = fast._decoded(data, header, min(300, bottom + fast._MARGIN), 1)
        assert np.array_equal(rows[:bottom], decode_image(data)[:bottom])


@NEEDED
@pytest.mark.parametrize(("size", "scale"), [((100, 70), 2), ((50, 40), 4), ((25, 20), 8)])
def test_lower_resolutions_are_the_picture_seen_from_further_away(size, scale):
    data = jpeg(picture(403, 611, cell=50))
    for seed in range(3):
        quick, exact = both(data, Preprocessing(size), (0.98, 1.0), seed)
        assert np.abs(quick - exact).mean() < 1.5  # of 256 grey levels
        shifted = np.abs(quick[:, 1:] - exact[:, :-1]).mean()
        assert np.abs(quick - exact).mean() < shifted / 3  # and not a pixel beside


@NEEDED
def test_crops_of_real_photographs(data_root):
    with tarfile.open(data_root / "imagenet-sample" / "sample-000.tar") as tar:
        members = [member for member in tar if member.name.endswith(".JPEG")][:24]
        files = [tar.extractfile(member).read() for member in members]
    differences = {224: [], 64: []}
    for (size, found), data in itertools.product(differences.items(), files):
        if fast._sequential_header(data) is not None:
            quick, exact = both(data, Preprocessing((size, size)), (0.08, 1.0), len(found))
            found.append(np.abs(quick - exact).mean())
    assert len(differences[224]) > 20
    assert np.mean(differences[224]) < 0.5 and np.mean(differences[64]) < 3


@NEEDED
@pytest.mark.parametrize(
    "data",
    [
        jpeg(picture(), progressive=True),
        jpeg(picture().convert("CMYK")),
        jpeg(picture())[:-3000],
        jpeg(picture())[:20],
        b"",
    ],
    ids=["progressive", "CMYK", "cut short", "no header", "empty"],
)
def test_what_must_be_decoded_whole_is_left_to_pillow(data):
    assert fast.crop_of_jpeg(data, lambda h, w: (0, 0, h, w), SIZE) is None


@pytest.fixture
def photos(tmp_path):
    for i, (name, options) in enumerate(
        [("a/0.jpg", {}), ("a/1.jpg", {"progressive": True}), ("b/2.jpg", {"subsampling": 0})]
    ):
        path = tmp_path / "photos" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(picture(seed=i), **options))
    picture(seed=3).save(tmp_path / "photos" / "train" / "b" / "3.png")
    return f"folder:{tmp_path / 'photos'}"


def pipeline(photos, **options):
    augmentation = Augmentation(flip=True, random_resized_crop=(0.08, 1.0))
    options = {"batch_size": 6, "seed": 5, **options}
    return TrainPipeline(open_source(photos, "train"), SIZE, augmentation, **options)


@NEEDED
def test_batches_are_pure_functions_of_seed_and_step_and_near_those_of_pillow(photos):
    quick, exact = pipeline(photos, decoder="fast"), pipeline(photos)
    made = itertools.islice(pipeline(photos, decoder="fast", workers=1).batches(2), 2)
    for step, batch in enumerate(made, start=2):
        again, other = quick.batch(step), exact.batch(step)
        assert np.array_equal(batch["image"], again["image"])
        for name in ("label", "index"):
            assert np.array_equal(batch[name], again[name]) and np.array_equal(
                batch[name], other[name]
            )
        distance = np.abs(again["image"].astype(int) - other["image"]).mean((1, 2, 3))
        assert distance.max() < 2
        assert np.array_equal(distance == 0, np.isin(again["index"], [1, 3]))  # progressive, PNG
    assert quick.fingerprint == {**exact.fingerprint, "decoder": "fast"}


def test_without_its_libraries_it_is_refused_in_one_sentence(photos, monkeypatch):
    monkeypatch.setattr(fast.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"needs simplejpeg and cykooz_resizer: pip install '.*fast"
    ):
        pipeline(photos, decoder="fast")
    with pytest.raises(ValueError, match="decoder is 'quick', allowed: pillow, fast"):
        pipeline(photos, decoder="quick")
