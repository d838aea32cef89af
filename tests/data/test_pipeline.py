"""Training batches: pure functions of (seed, step), the same for every way of making them."""

import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import save_images
from zoo.data import Augmentation, BadImageError, Preprocessing, TrainPipeline, open_source
from zoo.data.records import ArraySource, Record

DIGITS = Preprocessing((8, 8), mean=(0.3,), std=(0.4,), channels=1)
SMALL = Preprocessing((6, 6))
EVERYTHING = Augmentation(2, True, (0.3, 1.0), 0.4, "rand-m9-n2-mstd0.5")


def equal(one: dict, other: dict) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in ("image", "label", "index"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("photos")
    save_images(path, {"train/a": 5, "train/b": 4, "train/c": 4})
    return f"folder:{path}"


def digits(**settings) -> TrainPipeline:
    settings = {"augmentation": Augmentation(1), "batch_size": 96, "seed": 3, **settings}
    return TrainPipeline(open_source("digits", "train"), DIGITS, **settings)


def photos(folder: str, **settings) -> TrainPipeline:
    settings = {"augmentation": EVERYTHING, "batch_size": 8, "seed": 3, **settings}
    return TrainPipeline(open_source(folder, "train"), SMALL, **settings)


def test_batches_have_fixed_shapes_and_types(folder):
    for pipeline, shape in ((digits(), (96, 8, 8, 1)), (photos(folder), (8, 6, 6, 3))):
        for step in (0, 1, 50):
            batch = pipeline.batch(step)
            assert batch["image"].shape == shape and batch["image"].dtype == np.uint8
            assert batch["label"].shape == shape[:1] and batch["label"].dtype == np.int32
            assert batch["index"].shape == shape[:1] and batch["index"].dtype == np.int64


@pytest.mark.fault("D3")
def test_every_example_comes_once_per_epoch_and_no_remainder_is_lost(folder):
    pipeline = photos(folder, augmentation=None)  # 13 examples, batches of 8
    seen = np.concatenate([pipeline.batch(step)["index"] for step in range(26)]).reshape(16, 13)
    assert np.array_equal(np.sort(seen, axis=1), np.tile(np.arange(13), (16, 1)))
    assert len({epoch.tobytes() for epoch in seen}) == 16


def test_without_augmentation_a_batch_holds_the_examples_it_names():
    pipeline, source = digits(augmentation=None), open_source("digits", "train")
    batch = pipeline.batch(7)
    for image, label, index in zip(batch["image"], batch["label"], batch["index"], strict=True):
        assert np.array_equal(image, source[index].image) and label == source[index].label


@pytest.mark.fault("D3")
def test_a_batch_depends_on_seed_and_step_alone(folder):
    first = [photos(folder).batch(step) for step in range(5)]
    again = photos(folder)
    backwards = [again.batch(step) for step in reversed(range(5))][::-1]
    assert all(map(equal, first, backwards))
    assert all(map(equal, first[2:], itertools.islice(photos(folder).batches(2), 3)))
    assert not equal(first[0], photos(folder, seed=4).batch(0))
    assert not equal(first[0], first[1])


def test_an_example_looks_different_in_every_epoch():
    pipeline = TrainPipeline(
        open_source("digits", "train"), DIGITS, Augmentation(2), batch_size=1437, seed=0
    )
    one, two = (pipeline.batch(step) for step in (0, 1))
    first, second = (batch["image"][np.argsort(batch["index"])] for batch in (one, two))
    same = np.mean((first == second).all((1, 2, 3)))
    assert same < 0.08  # 1/25 of the shifts are equal, some images are shifted onto themselves


@pytest.mark.parametrize("process_count", [2, 4])
def test_the_parts_of_several_processes_join_to_the_whole_batch(folder, process_count):
    for step in (0, 1, 4):  # step 1 spans two epochs
        parts = [
            photos(folder, process_index=index, process_count=process_count).batch(step)
            for index in range(process_count)
        ]
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert equal(joined, photos(folder).batch(step))


def test_stored_pixels_and_single_records_give_the_same_batches():
    source = open_source("digits", "train")

    class OneByOne:
        name, split, classes, fingerprint = "digits", "train", source.classes, ""

        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            return source[index]

    slow = TrainPipeline(OneByOne(), DIGITS, Augmentation(1, True), batch_size=64, seed=9)
    fast = TrainPipeline(source, DIGITS, Augmentation(1, True), batch_size=64, seed=9)
    assert all(equal(slow.batch(step), fast.batch(step)) for step in (0, 22, 23))


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_make_the_same_batches(folder, workers):
    pytest.importorskip("grain")
    expected = itertools.islice(photos(folder).batches(3), 5)
    made = itertools.islice(photos(folder, workers=workers).batches(3), 5)
    assert all(map(equal, expected, made))


def test_worker_processes_end_with_the_iterator(folder):
    pytest.importorskip("grain")
    code = f"""
import multiprocessing
from zoo.data import Augmentation, Preprocessing, TrainPipeline, open_source

if __name__ == "__main__":
    source = open_source({folder!r}, "train")
    pipeline = TrainPipeline(source, Preprocessing((96, 96)), batch_size=64, seed=0, workers=2)
    batches = pipeline.batches()
    kinds = {{type(values).__name__ for values in next(batches).values()}}
    batches.close()
    print(kinds, len(multiprocessing.active_children()))
"""
    script = Path(folder.removeprefix("folder:")) / "script.py"
    script.write_text(code)
    root = Path(__file__).resolve().parents[2]
    ended = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
    )
    assert ended.stdout.strip() == "{'ndarray'} 0"
    assert "Traceback" not in ended.stderr


class DyingSource(ArraySource):
    """Ends the process that reads example 5."""

    def __init__(self):
        images = np.zeros((20, 6, 6, 3), np.uint8)
        super().__init__("dying", "train", ("a", "b"), images, np.arange(20) % 2)
        del self.arrays

    def __getitem__(self, index):
        if index == 5:
            os._exit(9)
        return Record(np.zeros((6, 6, 3), np.uint8), 0)


@pytest.mark.fault("E14")
@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_dies_is_reported_within_seconds():
    pytest.importorskip("grain")
    pipeline = TrainPipeline(DyingSource(), SMALL, batch_size=10, seed=0, workers=1)
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="[Ww]orker"):
        list(itertools.islice(pipeline.batches(), 20))
    assert time.monotonic() - start < 60


@pytest.fixture
def damaged(tmp_path: Path) -> str:
    save_images(tmp_path, {"train/a": 6, "train/b": 6})
    for name in ("a/002", "a/003", "b/005"):
        (tmp_path / "train" / f"{name}.png").write_bytes(b"<html>gone</html>")
    return f"folder:{tmp_path}"


@pytest.mark.fault("E1")
def test_a_bad_image_stops_training_and_is_named(damaged):
    with pytest.raises(BadImageError, match=r"example \d+: .*\d{3}.png: not an image.*'skip'"):
        photos(damaged, batch_size=12).batch(0)


@pytest.mark.fault("E1")
@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_images_are_counted_and_replaced_by_the_next(damaged, workers):
    if workers:
        pytest.importorskip("grain")
    pipeline = photos(damaged, batch_size=12, bad_examples="skip", workers=workers)
    plain = photos(damaged, batch_size=12, bad_examples="skip", augmentation=None)
    for step, batch in enumerate(itertools.islice(pipeline.batches(), 3)):
        asked, _ = pipeline.order(step)
        expected = [{2: 4, 3: 4, 11: 0}.get(index, index) for index in asked.tolist()]
        assert batch["index"].tolist() == expected
        assert batch["label"].tolist() == [int(index >= 6) for index in expected]
        assert np.array_equal(batch["index"], plain.batch(step)["index"])
    assert pipeline.skipped == (2, 3, 11)


@pytest.mark.fault("E1")
def test_more_bad_images_than_allowed_stop_training(damaged):
    pipeline = photos(damaged, batch_size=12, bad_examples="skip", max_skipped=2)
    with pytest.raises(BadImageError, match=r"3 unreadable examples, allowed are 2"):
        pipeline.batch(0)
    with pytest.raises(BadImageError, match="allowed are 1"):
        photos(damaged, batch_size=12, bad_examples="skip", max_skipped=1).batch(0)


@pytest.mark.fault("D5")
def test_the_fingerprint_is_json_and_follows_what_decides_the_batches(folder):
    base = photos(folder).fingerprint
    assert json.loads(json.dumps(base)) == base
    assert base == photos(folder, workers=2, process_index=1, process_count=2).fingerprint
    changed = [
        photos(folder, seed=4),
        photos(folder, batch_size=16),
        photos(folder, augmentation=Augmentation(1)),
        digits(),
    ]
    assert all(pipeline.fingerprint != base for pipeline in changed)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 9, "process_count": 2}, "batch_size 9 does not divide among 2 processes"),
        ({"process_index": 1}, r"process_index is 1, allowed is 0\.\.0"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": -1}, "workers is -1"),
        ({"bad_examples": "ignore"}, "allowed: error, skip"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        digits(**settings)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="step is -1"):
        digits().batch(-1)
