"""The bundled labels are the published ones."""

import json
import subprocess
import sys

import numpy as np

from tests.conftest import REPOSITORY
from zoo.data.imagenet import labels


def test_classes_are_the_thousand_sorted_wordnet_ids(data_root):
    info = json.loads((data_root / "imagenet-labels" / "class_info.json").read_text())
    assert labels.wnids() == tuple(sorted(entry["wnid"] for entry in info))
    assert labels.class_names() == tuple(", ".join(entry["synset"]) for entry in info)
    assert labels.label_of_wnid()["n15075141"] == 999


def test_validation_labels_are_the_published_ones_fifty_per_class(data_root):
    published = np.loadtxt(data_root / "imagenet-labels" / "val_labels.txt", dtype=np.int64)
    assert np.array_equal(labels.val_labels(), published)
    assert np.all(np.bincount(labels.val_labels(), minlength=1000) == 50)


def test_real_labels_are_the_published_ones(data_root):
    published = json.loads((data_root / "imagenet-labels" / "real.json").read_text())
    assert labels.real_labels() == published
    assert sum(not valid for valid in published) == 3163


def test_the_bundle_is_what_its_script_writes(data_root, tmp_path):
    made = tmp_path / "labels.json.xz"
    script = REPOSITORY / "tools" / "imagenet_labels.py"
    subprocess.run([sys.executable, script, data_root / "imagenet-labels", made], check=True)
    bundled = REPOSITORY / "zoo" / "data" / "imagenet" / "labels.json.xz"
    assert made.read_bytes() == bundled.read_bytes()


def test_only_official_names_have_numbers():
    assert labels.val_number("x/ILSVRC2012_val_00050000.JPEG") == 50000
    for name in ("ILSVRC2012_val_00050001.JPEG", "ILSVRC2012_val_1.JPEG", "n01440764_1.JPEG"):
        assert labels.val_number(name) is None


def test_wordnet_ids_have_readable_names():
    assert labels.readable("n01440764") == "tench"
    assert [labels.readable(name) for name in ("cat", "n00000000")] == ["cat", "n00000000"]
