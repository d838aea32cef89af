"""Packing changes no byte, survives being killed, and every later damage is noticed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from zoo.data import BadImageError, Preprocessing, TrainPipeline, open_source
from zoo.data.imagenet import check_imagenet, prepare_imagenet
from zoo.data.imagenet.packed import read_manifest


@pytest.fixture(scope="module")
def packed(forms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "imagenet"
    prepare_imagenet(forms["tars"], folder, shard_examples=30)
    return folder


def opened(folder, split):
    return open_source("imagenet2012", split, data_dir=str(folder))


@pytest.mark.parametrize("split", ["train", "val"])
def test_packed_data_is_the_same_source_byte_for_byte(forms, packed, split):
    plain, source = opened(forms["folders"], split), opened(packed, split)
    assert source.fingerprint == plain.fingerprint and source.layout == "packed"
    assert np.array_equal(source.labels, plain.labels)
    assert all(source.encoded(i) == plain.encoded(i) for i in range(len(plain)))
    assert np.array_equal(source[7].image, plain[7].image)


def test_reading_needs_no_tensorflow_and_no_jax(packed):
    code = (
        "import sys; from zoo.data import open_source\n"
        f"print(open_source('imagenet2012', 'val', data_dir={str(packed)!r})[3].image.shape)\n"
        "assert not {'tensorflow', 'jax', 'tensorflow_datasets'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=60)


def test_worker_processes_read_packed_data(packed):
    pipelines = [
        TrainPipeline(
            opened(packed, "train"), Preprocessing((16, 16)), batch_size=8, seed=1, workers=workers
        )
        for workers in (0, 1)
    ]
    plain, by_worker = (next(pipeline.batches(3)) for pipeline in pipelines)
    assert all(np.array_equal(plain[key], by_worker[key]) for key in plain)


def test_shards_do_not_depend_on_the_number_of_workers(forms, packed, tmp_path):
    prepare_imagenet(forms["class_tars"], tmp_path / "again", shard_examples=30, workers=1)
    assert read_manifest(tmp_path / "again") == read_manifest(packed)


def test_a_finished_preparation_is_left_as_it_is(forms, packed):
    times = {path: path.stat().st_mtime_ns for path in packed.iterdir()}
    done = prepare_imagenet(forms["tars"], packed, shard_examples=30)
    assert (done.shards_written, done.shards_kept) == (0, 5)
    assert times == {path: path.stat().st_mtime_ns for path in packed.iterdir()}


def test_a_killed_preparation_goes_on_and_ends_the_same(forms, packed, tmp_path):
    target = tmp_path / "killed"
    command = [sys.executable, "-m", "zoo", "data", "prepare", "imagenet2012", "--json"]
    options = ["--from", forms["tars"], "--to", target, "--shard-examples", "2", "--workers", "1"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    child = subprocess.Popen(
        [*command, *options], cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(target.glob("*.array_record"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    finished = len(list(target.glob("*.array_record")))
    assert 3 <= finished < 60 and not (target / "manifest.json").exists()
    damaged = min(target.glob("*.array_record"))
    flip(damaged, damaged.stat().st_size // 2)
    again = subprocess.run(
        [*command, *options], check=True, capture_output=True, cwd=REPOSITORY, env=environment
    )
    done = json.loads(again.stdout.splitlines()[-1])
    # Killed between a shard's name and its receipt, one more is made again.
    assert finished - 2 <= done["shards_kept"] <= finished - 1
    assert done["shards_kept"] + done["shards_written"] == 60
    assert check_imagenet(target, everything=True, partial=True).all_problems == []
    for split in ("train", "val"):
        assert opened(target, split).fingerprint == opened(packed, split).fingerprint
    assert not list(target.glob(".zoo-prepare"))


def flip(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def test_bad_images_are_all_named_and_the_rest_is_kept(forms, tmp_path):
    root = shutil.copytree(forms["folders"], tmp_path / "bad")
    images = sorted((root / "val").rglob("*.JPEG"))
    originals = {path: path.read_bytes() for path in (images[3], images[30])}
    images[3].write_bytes(originals[images[3]][:9000])
    images[30].write_bytes(b"<html>not found</html>")
    with pytest.raises(BadImageError, match="2 images of val cannot be decoded") as caught:
        prepare_imagenet(root, tmp_path / "out", splits=("val",), shard_examples=10)
    assert images[3].name in str(caught.value) and images[30].name in str(caught.value)
    for path, data in originals.items():
        path.write_bytes(data)
    done = prepare_imagenet(root, tmp_path / "out", splits=("val",), shard_examples=10)
    assert (done.shards_kept, done.shards_written) in {(2, 2), (3, 1)}
    assert opened(tmp_path / "out", "val").fingerprint == opened(root, "val").fingerprint


def test_another_preparation_is_not_mixed_in(forms, packed, tmp_path):
    with pytest.raises(ValueError, match="holds other images or splits already"):
        prepare_imagenet(forms["tars"], packed, splits=("val",))
    root = shutil.copytree(forms["flat"], tmp_path / "flat")
    next((root / "val").iterdir()).write_bytes(b"")
    with pytest.raises(BadImageError, match="the file is empty"):
        prepare_imagenet(root, tmp_path / "out")
    with pytest.raises(ValueError, match="the beginning of another preparation"):
        prepare_imagenet(root, tmp_path / "out", shard_examples=7)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nothing", {}, "is not a folder"),
        ("packed", {}, "is packed already"),
        ("tars", {"splits": ("test",)}, "unknown split 'test', allowed: train, val"),
        ("tars", {"workers": 0}, "workers=0.*give 1 or more"),
        ("empty", {}, "has no train split of ImageNet"),
        ("flat/val", {"splits": ("train",)}, "has no train split"),
    ],
)
def test_what_cannot_be_packed_is_refused(forms, packed, tmp_path, source, options, message):
    (tmp_path / "empty").mkdir()
    places = {"packed": packed, "empty": tmp_path / "empty", "flat/val": forms["flat"] / "val"}
    folder = places.get(source) or forms.get(source) or tmp_path / source
    with pytest.raises(ValueError, match=message):
        prepare_imagenet(folder, tmp_path / "out", **options)


def test_labels_that_contradict_the_official_ones_are_not_packed(forms, tmp_path):
    source = opened(forms["flat"], "val")
    names = [f"n01440764/{name}" for name in source.store.names]
    for k, name in enumerate(names):
        path = tmp_path / "in" / "val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.encoded(k))
    with pytest.raises(ValueError, match="39 of 40 validation images"):
        prepare_imagenet(tmp_path / "in", tmp_path / "out")


@pytest.mark.fault("E2", "E5")
def test_a_missing_shard_is_named_when_opened_and_a_changed_one_when_read(packed, tmp_path):
    root = shutil.copytree(packed, tmp_path / "damaged")
    shard = root / "imagenet2012-val-00001-of-00002.array_record"
    flip(shard, shard.stat().st_size // 2)
    source = opened(root, "val")
    with pytest.raises(BadImageError, match=rf"{shard.name} record \d+.*the shard is damaged"):
        for index in range(len(source)):
            source[index]
    (root / "extra.array_record").touch()
    problems = check_imagenet(root, partial=True).all_problems
    assert len(problems) == 3  # the changed shard, its undecodable image, and the extra one
    assert sum(shard.name in problem for problem in problems) == 2
    assert any("1 shards are not in the manifest, first extra.array_record" in p for p in problems)
    with shard.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match=f"{shard.name} has .* bytes, the manifest says"):
        opened(root, "val")
    shard.unlink()
    with pytest.raises(ValueError, match=f"{shard.name} is missing; copy the folder again"):
        opened(root, "val")


@pytest.mark.fault("E5")
def test_a_changed_list_or_manifest_is_refused(packed, tmp_path):
    root = shutil.copytree(packed, tmp_path / "damaged")
    flip(root / "imagenet2012-val.tsv", 0)
    with pytest.raises(ValueError, match="imagenet2012-val.tsv is not the list that was packed"):
        opened(root, "val")
    (root / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="not a readable manifest.*format is 'other'"):
        opened(root, "val")


def test_archives_with_their_own_numbers_keep_their_labels(imagenet_tars, tmp_path):
    prepare_imagenet(imagenet_tars, tmp_path / "out", splits=("val",))
    source, expected = opened(tmp_path / "out", "val"), opened(imagenet_tars, "val")
    assert source.fingerprint == expected.fingerprint
