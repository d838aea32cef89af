"""Opening by name, the digits, and the views `subset` and `limit`."""

import subprocess
import sys

import numpy as np
import pytest

from zoo.data import Source, limit, open_source, subset
from zoo.data.records import ArraySource, source_labels


def test_digits_split_is_a_stratified_fifth_of_the_bundled_set():
    from sklearn.datasets import load_digits

    train, test = open_source("digits", "train"), open_source("digits", "test")
    assert isinstance(train, Source) and train.classes == tuple("0123456789")
    assert (len(train), len(test)) == (1437, 360)
    total = np.bincount(load_digits().target)
    assert np.abs(np.bincount(test.labels) - total / 5).max() < 1
    pooled = np.concatenate([train.arrays[0], test.arrays[0]]).reshape(1797, 64)
    expected = np.round(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, pooled)) == sorted(map(bytes, expected))


def test_val_and_test_name_the_same_digits():
    val, test = open_source("digits", "val"), open_source("digits", "test")
    assert val.fingerprint == test.fingerprint
    assert test.fingerprint != open_source("digits", "train").fingerprint


def test_a_record_is_uint8_with_a_channel_axis_and_an_int_label():
    image, label = open_source("digits", "test")[0]
    assert image.shape == (8, 8, 1) and image.dtype == np.uint8 and image.max() <= 255
    assert type(label) is int


def test_digits_without_scikit_learn_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'flax-vanilla-zoo\[demo\]'"):
        open_source("digits", "train")


@pytest.mark.parametrize(
    ("spec", "split", "message"),
    [
        ("digit", "train", "nearest: digits"),
        ("cifar-10", "train", "nearest: cifar10"),
        ("folder:", "train", "folder:PATH"),
        ("imagenet", "test", "unknown data set 'imagenet'"),
        ("digits", "testing", "allowed: train, val, test"),
    ],
)
def test_unknown_names_are_refused_with_what_is_allowed(spec, split, message):
    with pytest.raises(ValueError, match=message):
        open_source(spec, split)


def test_a_subset_is_relabelled_in_the_order_given():
    test = open_source("digits", "test")
    two = subset(test, ["7", 2])
    assert two.classes == ("7", "2")
    old = {0: 7, 1: 2}
    originals = np.flatnonzero((test.labels == 7) | (test.labels == 2))
    for place, original in enumerate(originals):
        assert old[two[place].label] == test.labels[original]
        assert np.array_equal(two[place].image, test[int(original)].image)
    assert np.array_equal(two.arrays[0], np.stack([two[i].image for i in range(len(two))]))
    assert np.array_equal(source_labels(two), [two[i].label for i in range(len(two))])


@pytest.mark.parametrize("classes", [["7"], ["7", "7"], ["7", "x"], ["7", 11]])
def test_a_subset_of_wrong_classes_is_refused(classes):
    with pytest.raises(ValueError, match="class"):
        subset(open_source("digits", "test"), classes)


def test_a_subset_names_classes_without_examples():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    source = ArraySource("made", "train", ("a", "b", "c"), images, np.array([0, 2]))
    with pytest.raises(ValueError, match="no example of b"):
        subset(source, ["a", "b"])


def test_a_limited_source_is_spread_evenly_and_has_its_own_fingerprint():
    test = open_source("digits", "test")
    few = limit(test, 36)
    assert np.array_equal(few.indices, np.arange(0, 360, 10))
    assert few[3].label == test[30].label
    assert len({few.fingerprint, test.fingerprint, limit(test, 35).fingerprint}) == 3
    with pytest.raises(ValueError, match="cannot take 361"):
        limit(test, 361)


def test_array_sources_refuse_labels_outside_the_classes():
    images = np.zeros((3, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"outside 0\.\.1, the first is 2 at example 1"):
        ArraySource("made", "train", ("a", "b"), images, np.array([0, 2, 1]))
    with pytest.raises(ValueError, match="float32"):
        ArraySource("made", "train", ("a", "b"), images.astype(np.float32), np.array([0, 1, 1]))


def test_importing_the_package_loads_no_heavy_library():
    code = (
        "import sys, zoo.data\n"
        "heavy = {'jax', 'grain', 'sklearn', 'pooch', 'tensorflow_datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
