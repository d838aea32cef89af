"""A user's own pictures are seen as they were taken, other data sets' as they are stored."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.weights import tiny_model
from zoo.cli import main
from zoo.data import Augmentation, Preprocessing, TrainPipeline, eval_batches, open_source, subset
from zoo.data.records import Record
from zoo.evaluation import predict

SIDE = (12, 16)
PREPROCESSING = Preprocessing(SIDE, crop_mode="squash")


class StoredFiles:
    """Files of a data set that is not the user's own."""

    name, split, classes, fingerprint = "set", "test", ("a", "b"), ""

    def __init__(self, folder):
        self.files = open_source(f"folder:{folder}", "test")
        self.labels, self.encoded = self.files.labels, self.files.encoded

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return Record(np.asarray(Image.open(self.files.paths[index])), int(self.labels[index]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same photographs, as a camera held upright and one held sideways store them."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for name in "abab":
        photo = Image.fromarray(generator.integers(0, 256, (*SIDE, 3), np.uint8))
        for kind, picture, orientation in (
            ("upright", photo, 1),
            ("sideways", photo.transpose(Image.Transpose.ROTATE_90), 6),
        ):
            exif = Image.Exif()
            exif[0x0112] = orientation
            folder = root / kind / "test" / name
            folder.mkdir(parents=True, exist_ok=True)
            number = len(list(folder.iterdir()))
            picture.save(folder / f"{number}.png", exif=exif)
    return root / "upright", root / "sideways"


def _images(source, preprocessing=PREPROCESSING):
    (batch,) = eval_batches(source, preprocessing, batch_size=len(source))
    return batch["image"]


def test_own_pictures_are_evaluated_upright_in_every_view(folders):
    upright, sideways = (open_source(f"folder:{folder}", "test") for folder in folders)
    assert np.array_equal(_images(sideways), _images(upright))
    views = [subset(source, ("b", "a")) for source in (upright, sideways)]
    assert np.array_equal(_images(views[0]), _images(views[1]))


def test_other_data_sets_are_evaluated_as_they_are_stored(folders):
    upright, sideways = map(StoredFiles, folders)
    assert not np.array_equal(_images(sideways), _images(upright))


def test_the_preprocessing_decides_for_either_kind(folders):
    own, stored = open_source(f"folder:{folders[1]}", "test"), StoredFiles(folders[1])
    for orientation, expected in (("exif", own), ("stored", stored)):
        said = Preprocessing(SIDE, crop_mode="squash", orientation=orientation)
        assert np.array_equal(_images(own, said), _images(expected))
        assert np.array_equal(_images(stored, said), _images(expected))


@pytest.mark.parametrize("decoder", ["pillow", "fast"])
def test_own_pictures_are_trained_on_upright(folders, decoder, tmp_path):
    if decoder == "fast":
        pytest.importorskip("simplejpeg")
    batches = []
    for folder in folders:
        root = tmp_path / folder.name
        for path in sorted(folder.rglob("*.png")):
            copy = root / path.relative_to(folder).with_suffix(".jpg")
            copy.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.open(path)
            picture.save(copy, quality=100, subsampling=0, exif=picture.getexif())
        pipeline = TrainPipeline(
            open_source(f"folder:{root}", "test"), PREPROCESSING,
            Augmentation(random_resized_crop=(0.5, 1)), batch_size=4, seed=0, decoder=decoder,
        )  # fmt: skip
        batches.append(pipeline.batch(0)["image"].astype(int))
    # Two JPEG files of one picture; not one turned against the other, which is some 85 of 256.
    assert np.abs(batches[0] - batches[1]).mean() < 4


def test_predicting_sees_files_bytes_and_pictures_upright(folders):
    upright, sideways = (sorted(folder.rglob("*.png")) for folder in folders)
    model = tiny_model()
    answers = [[a["top"] for a in predict(model, files)] for files in (upright, sideways)]
    assert answers[0] == answers[1]
    for image in (sideways[0].read_bytes(), Image.open(io.BytesIO(sideways[0].read_bytes()))):
        assert np.array_equal(model.preprocess(image), model.preprocess(upright[0]))


def test_the_check_counts_turned_pictures(folders, capsys):
    for folder, expected in zip(folders, (0, 4), strict=True):
        main(["data", "check", f"folder:{folder}", "--json"])
        notes = json.loads(capsys.readouterr().out.splitlines()[-1])["notes"]
        assert bool(notes) == bool(expected)
    assert notes[0].startswith("4 of 4 images are stored turned or mirrored; they are shown")


def test_a_manifest_older_than_the_field_reads_as_before():
    old = {"image_size": [8, 8], "channels": 1, "mean": [0.5], "std": [0.25]}
    assert Preprocessing.from_dict(old).orientation is None
    with pytest.raises(ValueError, match="orientation is 'up', allowed: None, exif, stored"):
        Preprocessing((8, 8), orientation="up")
