"""Test sets of ImageNet's classes keep their labels."""

import pytest

from tests.data.conftest import save_images
from zoo.data import open_source
from zoo.data.imagenet.labels import subset_labels, wnids


def opened(name, folder, split="test"):
    return open_source(name, split, data_dir=str(folder))


def test_numeric_folders_are_labels_not_positions(tmp_path):
    save_images(tmp_path, {name: 1 for name in ("0", "10", "2", "999")})
    source = opened("imagenetv2", tmp_path)
    assert source.labels.tolist() == [0, 2, 10, 999]
    assert [source.store.paths[k].split("/")[0] for k in range(4)] == ["0", "2", "10", "999"]
    assert source.name == "imagenetv2[4 of 10000]" and source.classes == wnids()


@pytest.mark.parametrize("name", ["imagenet-a", "imagenet-r"])
def test_subsets_allow_their_two_hundred_classes(data_root, tmp_path, name):
    file = data_root / "imagenet-labels" / f"{name.replace('-', '_')}_indices.txt"
    published = tuple(int(line) for line in file.read_text().split())
    assert subset_labels(name) == published and len(published) == 200
    save_images(tmp_path / name, {wnids()[published[k]]: 1 for k in (3, 150)})
    for folder in (tmp_path, tmp_path / name):
        source = opened(name, folder)
        assert source.labels.tolist() == sorted([published[3], published[150]])
        assert source.allowed == published
    other = next(label for label in range(1000) if label not in published)
    save_images(tmp_path / name, {wnids()[other]: 1})
    with pytest.raises(ValueError, match=f"1 folders that are no classes of {name}"):
        opened(name, tmp_path)


def test_sketch_has_all_classes(tmp_path):
    save_images(tmp_path / "sketch", {wnids()[5]: 2})
    source = opened("imagenet-sketch", tmp_path)
    assert source.allowed is None and source.labels.tolist() == [5, 5]


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="no class folders of imagenet-r, named by WordNet ids"):
        opened("imagenet-r", tmp_path)
    with pytest.raises(ValueError, match="imagenetv2 is a test set"):
        opened("imagenetv2", tmp_path, "train")
