"""Folders of images: layout, class order, and refusals with counts."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_images
from zoo.data import BadImageError, Source, open_source, subset


def opened(folder: Path, split: str = "train"):
    return open_source(f"folder:{folder}", split)


def test_classes_are_sorted_folder_names_and_labels_their_places(tmp_path):
    save_images(tmp_path, {"train/zebra": 2, "train/ant": 3, "val/ant": 1, "val/zebra": 1})
    train = opened(tmp_path)
    assert isinstance(train, Source)
    assert train.classes == ("ant", "zebra") and train.labels.tolist() == [0, 0, 0, 1, 1]
    image, label = train[3]
    expected = Image.open(tmp_path / "train" / "zebra" / "000.png")
    assert label == 1 and np.array_equal(image, np.asarray(expected))


def test_numeric_folder_names_are_ordered_as_numbers(tmp_path):
    save_images(tmp_path, {f"train/{number}": 1 for number in (10, 9, 2, 0, 100)})
    assert opened(tmp_path).classes == ("0", "2", "9", "10", "100")
    save_images(tmp_path, {"train/x": 1})
    assert opened(tmp_path).classes == ("0", "10", "100", "2", "9", "x")


def test_test_and_val_stand_in_for_each_other(tmp_path):
    save_images(tmp_path, {"train/a": 1, "train/b": 1, "test/a": 2, "test/b": 2})
    assert opened(tmp_path, "val").folder == opened(tmp_path, "test").folder == tmp_path / "test"
    save_images(tmp_path, {"val/a": 3, "val/b": 3})
    assert len(opened(tmp_path, "val")) == 6 and len(opened(tmp_path, "test")) == 4


def test_class_folders_without_split_are_every_split_and_share_out_a_part(tmp_path):
    save_images(tmp_path, {"a": 5, "b": 7, "lonely": 1})
    assert {len(opened(tmp_path, split)) for split in ("train", "val", "test")} == {13}
    held, rest = opened(tmp_path, "holdout"), opened(tmp_path, "remainder")
    assert sorted([*held.indices, *rest.indices]) == list(range(13))
    assert np.bincount(held.labels, minlength=3).tolist() == [1, 1, 0]


def test_nothing_can_be_held_out_of_single_images(tmp_path):
    save_images(tmp_path, {"a": 1, "b": 1})
    assert len(opened(tmp_path)) == 2
    with pytest.raises(ValueError, match="no class with two examples, so none can be held out"):
        opened(tmp_path, "remainder")


def test_named_files_are_left_out_of_every_split(tmp_path):
    save_images(tmp_path, {"train/a": 3, "train/b": 2, "val/a": 1, "val/b": 2})
    spec, exclude = f"folder:{tmp_path}", ("train/a/001.png", "val/b/000.png")
    train = open_source(spec, "train", exclude=exclude)
    assert [path.name for path in train.paths] == ["000.png", "002.png", "000.png", "001.png"]
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert len(open_source(spec, "val", exclude=exclude)) == 2
    parts = [open_source(spec, split, exclude=exclude) for split in ("holdout", "remainder")]
    assert sum(map(len, parts)) == 4
    with pytest.raises(ValueError, match="val has no image of a left"):
        open_source(spec, "val", exclude=("val/a/000.png",))
    with pytest.raises(ValueError, match="no folder or table of images"):
        open_source("digits", "train", exclude=exclude)


@pytest.mark.fault("E6")
def test_hidden_files_are_passed_over_and_others_listed(tmp_path):
    save_images(tmp_path, {"train/a": 1, "train/b/deeper": 2, "train/.cache": 1, "train/a/.t": 1})
    (tmp_path / "train" / "a" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / "a" / "._000.png").write_bytes(b"x")
    (tmp_path / "train" / "a" / "notes.txt").write_bytes(b"x")
    (tmp_path / "train" / "labels.csv").write_bytes(b"x")
    source = opened(tmp_path)
    assert source.classes == ("a", "b") and len(source) == 3
    assert [path.name for path in source.ignored] == ["notes.txt"]


def test_upper_case_endings_and_unicode_names_are_read(tmp_path):
    save_images(tmp_path, {"train/e\u0301cole": 1, "train/b": 1})
    (tmp_path / "train" / "b" / "000.png").rename(tmp_path / "train" / "b" / "Übung.JPEG")
    source = opened(tmp_path)
    assert source.classes == ("b", "\u00e9cole") and len(source) == 2  # composed form
    assert source[0].image.shape == (6, 7, 3)


@pytest.mark.fault("E6")
@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"train/a": 2, "train/b": 0}, r"1 of 2 classes without images \(b\).*a: 2, b: 0"),
        ({"train/a": 2}, "1 class folders, needed are 2 or more; images per class: a: 2"),
        ({"train": 0}, "0 class folders.*none"),
        ({"train": 3, "train/a": 1}, "3 images beside its 1 class folders.*000.png"),
        ({"train": 3}, "3 images beside its 0 class folders"),
        ({"train/1": 1, "train/01": 1, "train/2": 1}, "two folders for the class"),
        ({"train/a": 1, "train/b": 1, "val/a": 1}, r"only in train: \['b'\]|only in val: \[\]"),
        ({"val/a": 1, "val/b": 1}, r"no folder for the split 'train' \(found: val\)"),
    ],
)
def test_layouts_that_would_shift_labels_are_refused_with_counts(tmp_path, tree, message):
    save_images(tmp_path, tree)
    with pytest.raises(ValueError, match=message):
        opened(tmp_path)


def test_flat_imagenet_is_pointed_to_the_source_that_reads_it(tmp_path):
    save_images(tmp_path, {"val": 1})
    (tmp_path / "val" / "000.png").rename(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(ValueError, match="or read them as imagenet2012, which knows their labels"):
        opened(tmp_path, "val")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="nothing_here is not a folder"):
        opened(tmp_path / "nothing_here")


def test_unreadable_images_are_named_when_read(tmp_path):
    save_images(tmp_path, {"train/a": 1, "train/b": 1})
    (tmp_path / "train" / "b" / "zero.jpg").write_bytes(b"")
    (tmp_path / "train" / "b" / "folder.jpg").mkdir()
    source = opened(tmp_path)
    assert len(source) == 4
    for index, message in ((2, r"folder.jpg: cannot be read"), (3, r"zero.jpg: the file is empty")):
        with pytest.raises(BadImageError, match=message):
            source[index]


def test_the_fingerprint_follows_names_and_sizes_not_the_place(tmp_path):
    save_images(tmp_path / "one", {"train/a": 2, "train/b": 1})
    shutil.copytree(tmp_path / "one", tmp_path / "two" / "one")
    first, copy = opened(tmp_path / "one"), opened(tmp_path / "two" / "one")
    assert first.fingerprint == copy.fingerprint
    (tmp_path / "one" / "train" / "a" / "001.png").rename(tmp_path / "one/train/a/002.png")
    assert opened(tmp_path / "one").fingerprint != copy.fingerprint


def test_tiny_imagenet_val_reads_completely(tiny_imagenet_dir):
    val = opened(tiny_imagenet_dir, "test")
    assert len(val.classes) == 64 and np.all(np.bincount(val.labels) == 50)
    assert val.classes == tuple(sorted(val.classes)) and val.classes[0].startswith("n0")
    shapes = {val[index].image.shape for index in range(0, 3200, 40)}
    assert shapes == {(64, 64, 3)}
    few = subset(val, list(val.classes[3:5]))
    assert len(few) == 100 and few[50].label == 1
