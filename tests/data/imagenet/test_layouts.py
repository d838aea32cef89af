"""Whatever form ImageNet lies in, it is the same source; what would shift labels is refused."""

import os
import pickle
import shutil
import types

import numpy as np
import pytest

from tests.data.imagenet.trees import write_kaggle_list, write_tar, write_tfds
from zoo.data import BadImageError, open_source
from zoo.data.decode import decode_image
from zoo.data.imagenet.label_lists import LabelOrderError
from zoo.data.imagenet.labels import val_labels, wnids

FORMS = ("folders", "flat", "kaggle", "tars", "class_tars")


def opened(folder, split="val"):
    return open_source("imagenet2012", split, data_dir=str(folder))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("form", FORMS[1:])
def test_every_form_gives_the_same_images_labels_and_fingerprint(forms, form, split):
    expected, source = opened(forms["folders"], split), opened(forms[form], split)
    assert source.fingerprint == expected.fingerprint
    assert np.array_equal(source.labels, expected.labels)
    assert source.classes == wnids()
    assert all(source.encoded(i) == expected.encoded(i) for i in range(len(expected)))


def test_validation_images_stand_in_the_order_of_their_numbers(forms):
    source = opened(forms["folders"])
    assert list(source.store.names) == sorted(source.store.names)
    numbers = [int(name[15:23]) for name in source.store.names]
    assert np.array_equal(source.labels, val_labels()[np.asarray(numbers) - 1])


def test_an_incomplete_split_says_so_in_its_name(forms):
    assert opened(forms["flat"]).name == "imagenet2012[40 of 50000]"
    assert opened(forms["flat"], "train").name == "imagenet2012[80 of 1281167]"


def test_the_validation_folder_itself_is_enough(forms):
    for form in ("folders", "flat"):
        folder = forms[form] / "val"
        assert opened(folder).fingerprint == opened(forms["flat"]).fingerprint


def test_archives_made_with_their_own_label_list_use_it(imagenet_tars):
    source = opened(imagenet_tars)
    lines = (imagenet_tars / "val_labels.txt").read_text().split()
    assert source.labels.tolist() == [int(line) for line in lines]
    assert len(set(source.labels.tolist())) == 40


@pytest.mark.parametrize("form", ["folders", "tars"])
def test_a_source_travels_to_worker_processes(forms, form):
    source = opened(forms[form])
    before = source[3].image
    assert np.array_equal(pickle.loads(pickle.dumps(source))[3].image, before)


def test_tfds_is_read_under_the_same_name(forms, tmp_path):
    source = opened(forms["flat"])
    images = [(source.encoded(i), int(source.labels[i])) for i in range(3)]
    write_tfds(tmp_path, wnids(), images)
    for folder in (tmp_path, tmp_path / "imagenet2012"):
        image, label = opened(folder)[2]
        assert label == images[2][1] and np.array_equal(image, decode_image(images[2][0]))


def test_tfds_classes_in_another_order_are_refused(tmp_path, monkeypatch):
    (tmp_path / "imagenet2012" / "5.1.0").mkdir(parents=True)
    (tmp_path / "imagenet2012" / "5.1.0" / "dataset_info.json").touch()
    reversed_classes = types.SimpleNamespace(classes=wnids()[::-1])
    monkeypatch.setattr("zoo.data.imagenet.source.open_tfds", lambda *_: reversed_classes)
    with pytest.raises(ValueError, match="expected are the 1,000 sorted WordNet ids"):
        opened(tmp_path)


def copied(forms, form, tmp_path):
    return shutil.copytree(forms[form], tmp_path / form, symlinks=True)


def test_images_in_the_wrong_class_folder_are_refused_with_their_number(forms, tmp_path):
    root = copied(forms, "folders", tmp_path)
    first, second = sorted((root / "val").iterdir())[:2]
    moved = next(first.iterdir())
    moved.rename(second / moved.name)
    with pytest.raises(LabelOrderError, match=rf"1 of 40 validation images.*{moved.name}: 8 inst"):
        opened(root)


def test_class_folders_in_devkit_order_are_refused(forms, tmp_path):
    root = copied(forms, "folders", tmp_path)
    folders = sorted((root / "val").iterdir())
    for folder, wnid in zip(folders, wnids()[1:], strict=False):
        folder.rename(folder.with_name(f"moved-{wnid}"))
    for folder in list((root / "val").iterdir()):
        folder.rename(folder.with_name(folder.name.removeprefix("moved-")))
    with pytest.raises(LabelOrderError, match="40 of 40 validation images another label"):
        opened(root)


def test_a_label_list_in_devkit_numbering_is_refused(forms, tmp_path):
    root = copied(forms, "flat", tmp_path)
    generator = np.random.default_rng(0)
    devkit = generator.permutation(1000)[val_labels()]
    (root / "val_labels.txt").write_text("".join(f"{label}\n" for label in devkit))
    with pytest.raises(LabelOrderError, match="of 40 validation images another label than the off"):
        opened(root)
    (root / "val_labels.txt").write_text("".join(f"{label + 1}\n" for label in devkit))
    with pytest.raises(LabelOrderError, match="label 1000, allowed is 0 to 999"):
        opened(root)
    (root / "val_labels.txt").write_text("".join(f"{wnids()[k]}\n" for k in val_labels()))
    assert opened(root).fingerprint == opened(forms["flat"]).fingerprint


def test_a_wrong_kaggle_list_is_refused(forms, tmp_path):
    root = copied(forms, "kaggle", tmp_path)
    write_kaggle_list(root, {1: wnids()[0]})
    with pytest.raises(ValueError, match="no label for 40 of 40 images"):
        opened(root)
    numbers = [int(name[15:23]) for name in opened(forms["kaggle"]).store.names]
    write_kaggle_list(root, dict.fromkeys(numbers, wnids()[5]))
    with pytest.raises(LabelOrderError, match="LOC_val_solution.csv gives 40 of 40"):
        opened(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "val/x.JPEG").touch(), "1 images without class folder.*x.JPEG"),
        (lambda root: shutil.rmtree(root / "val"), "has no val split of ImageNet; known forms"),
        (lambda root: _replace(root / "val", "cats"), "1 classes that are not among.*'cats'"),
        (lambda root: _replace(root / "val", "n01440764"), "n01440764 has no images|has no images"),
    ],
)
def test_what_is_no_split_is_refused(forms, tmp_path, change, message):
    root = copied(forms, "flat", tmp_path)
    change(root)
    with pytest.raises(ValueError, match=message):
        opened(root)


def _replace(folder, name):
    shutil.rmtree(folder)
    (folder / name).mkdir(parents=True)
    if name == "cats":
        (folder / name / "1.JPEG").touch()


@pytest.mark.fault("A19")
def test_a_truncated_archive_is_named(forms, tmp_path):
    root = copied(forms, "tars", tmp_path)
    for name in ("ILSVRC2012_img_val.tar", "ILSVRC2012_img_train.tar"):
        data = (root / name).read_bytes()
        (root / name).unlink()
        (root / name).write_bytes(data[: len(data) * 2 // 3])
    for split in ("train", "val"):
        with pytest.raises(ValueError, match=f"img_{split}.tar.*get the archive again"):
            opened(root, split)


def test_repeated_images_are_refused(forms, tmp_path):
    source = opened(forms["flat"])
    name = source.store.names[0]
    files = {f"{k}/{name}": source.encoded(0) for k in "ab"}
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", files)
    with pytest.raises(ValueError, match=rf"{name} is there twice"):
        opened(tmp_path)


def test_a_damaged_image_names_archive_and_member(forms, tmp_path):
    source = opened(forms["flat"])
    files = {source.store.names[k]: source.encoded(k)[: 5000 * (1 + k)] for k in range(2)}
    write_tar(tmp_path / "ILSVRC2012_img_val.tar", files)
    damaged = opened(tmp_path)
    with pytest.raises(BadImageError, match=rf"val.tar: {source.store.names[1]}: damaged image"):
        damaged[1]


def test_files_that_vanish_are_named(forms, tmp_path):
    root = copied(forms, "flat", tmp_path)
    source = opened(root)
    os.unlink(source.store.place(2))
    with pytest.raises(BadImageError, match=f"{source.store.names[2]}: cannot be read"):
        source[2]
