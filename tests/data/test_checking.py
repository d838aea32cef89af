"""A folder of images is looked at before it is trained on: one report names all that is wrong."""

import json

import numpy as np
import pytest
from PIL import Image

from zoo.cli import main
from zoo.data import open_source
from zoo.data.checking import check_pictures


def _picture(path, value, side=40):
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(value)
    Image.fromarray(generator.integers(0, 256, (side, side, 3), np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of four training and two validation images, all different and sound."""
    for i in range(12):
        split, name = ("train", "val")[i >= 8], ("cat", "dog")[i % 2]
        _picture(tmp_path / split / name / f"{i}.png", i)
    return tmp_path


def test_a_sound_folder_has_no_findings(folder):
    found = check_pictures(f"folder:{folder}")
    assert (found.errors, found.warnings) == ((), ())
    assert found.images == {"train": {"cat": 4, "dog": 4}, "val": {"cat": 2, "dog": 2}}


def test_every_error_is_named_at_once(folder, capsys):
    (folder / "train" / "cow").mkdir()
    (folder / "train" / "cat" / "web.jpg").write_text("<html>not found</html>")
    (folder / "train" / "dog" / "1.png").write_bytes(b"")
    assert main(["data", "check", f"folder:{folder}", "--json"]) == 1
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    text = "\n".join(value["errors"])
    assert not value["ok"] and len(value["errors"]) == 3
    assert "train: no images of cow" in text and "val: no images of cow" in text
    assert "2 images cannot be read" in text and "web.jpg" in text and "1.png" in text


def test_one_class_is_an_error(tmp_path):
    _picture(tmp_path / "train" / "cat" / "0.png", 0)
    assert "train: 1 classes" in check_pictures(f"folder:{tmp_path}").errors[0]


def test_warnings_name_leaks_imbalance_and_small_images(folder):
    # The same pixels in another file format: the bytes differ.
    Image.open(folder / "train" / "cat" / "0.png").save(folder / "val" / "dog" / "leak.bmp")
    for i in range(100, 141):
        _picture(folder / "train" / "cat" / f"{i}.png", i, side=20 if i == 100 else 40)
    leak, labels, imbalance, small = check_pictures(f"folder:{folder}").warnings
    assert leak.startswith("1 images are in two splits") and "leak.bmp" in leak
    assert labels.startswith("1 images are in two classes")
    assert "train: cat has 11.2 times the images of dog (45 and 4)" in imbalance
    assert small.startswith("1 images have a side below 32 pixels") and "100.png" in small


def test_what_cannot_be_checked_is_refused(capsys):
    assert main(["data", "check", "digits"]) == 2
    assert "write folder:PATH" in capsys.readouterr().err


def test_holdout_and_remainder_share_out_the_training_split():
    train, held, rest = (open_source("digits", s) for s in ("train", "holdout", "remainder"))
    assert sorted([*held.indices, *rest.indices]) == list(range(len(train)))
    counts = np.bincount(train.labels)
    assert np.array_equal(np.bincount(held.labels), np.round(counts / 5))
    assert held.fingerprint != rest.fingerprint
    assert np.array_equal(held[7].image, train[int(held.indices[7])].image)
