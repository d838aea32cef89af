"""Evaluation batches: every example exactly once, padded, masked, never skipped."""

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_images
from zoo.data import BadImageError, Preprocessing, eval_batches, limit, open_source

DIGITS = Preprocessing((8, 8), mean=(0.3,), std=(0.4,), channels=1)
TEST = open_source("digits", "test")


@pytest.mark.fault("E9")
@pytest.mark.parametrize("n", [1, 7, 63, 64, 65, 360])
@pytest.mark.parametrize("process_count", [1, 2, 8])
def test_every_example_comes_exactly_once(n, process_count):
    source, seen, counts = limit(TEST, n), [], []
    for process_index in range(process_count):
        batches = list(
            eval_batches(
                source,
                DIGITS,
                batch_size=64,
                process_index=process_index,
                process_count=process_count,
            )
        )
        counts.append(len(batches))
        for batch in batches:
            local = 64 // process_count
            assert batch["image"].shape == (local, 8, 8, 1) and batch["image"].dtype == np.uint8
            assert batch["label"].dtype == np.int32 and batch["mask"].dtype == bool
            assert np.array_equal(batch["mask"], batch["index"] >= 0)
            assert not batch["image"][~batch["mask"]].any()
            for image, label, index in zip(
                *(batch[name][batch["mask"]] for name in ("image", "label", "index")), strict=True
            ):
                assert np.array_equal(image, source[index].image) and label == source[index].label
                seen.append(int(index))
    assert sorted(seen) == list(range(n))
    assert set(counts) == {-(-n // 64)}  # every process takes the same number of steps


@pytest.mark.fault("D12")
def test_several_processes_join_to_the_batches_of_one():
    whole = list(eval_batches(TEST, DIGITS, batch_size=100))
    parts = [
        list(eval_batches(TEST, DIGITS, batch_size=100, process_index=index, process_count=4))
        for index in range(4)
    ]
    for step, batch in enumerate(whole):
        for name, values in batch.items():
            assert np.array_equal(values, np.concatenate([part[step][name] for part in parts]))


def test_threads_and_batch_sizes_change_nothing(tiny_imagenet_dir):
    source = limit(open_source(f"folder:{tiny_imagenet_dir}", "val"), 75)
    preprocessing = Preprocessing((56, 56), crop_pct=0.875)

    def pixels(**settings):
        batches = eval_batches(source, preprocessing, **settings)
        return np.concatenate([batch["image"][batch["mask"]] for batch in batches])

    expected = pixels(batch_size=1)
    assert expected.shape == (75, 56, 56, 3)
    assert np.array_equal(pixels(batch_size=32), expected)
    assert np.array_equal(pixels(batch_size=20, threads=2), expected)


@pytest.mark.fault("E1")
@pytest.mark.parametrize("threads", [0, 2])
def test_a_bad_image_is_never_left_out(tmp_path, threads):
    save_images(tmp_path, {"val/a": 3, "val/b": 3})
    (tmp_path / "val" / "b" / "001.png").write_bytes(b"")
    source = open_source(f"folder:{tmp_path}", "val")
    with pytest.raises(BadImageError, match=r"example 4: .*b/001.png: the file is empty"):
        list(eval_batches(source, Preprocessing((4, 4)), batch_size=4, threads=threads))


def test_an_image_of_impossible_proportions_is_named(tmp_path):
    save_images(tmp_path, {"val/a": 1, "val/b": 1})
    Image.new("L", (40_000, 1)).save(tmp_path / "val" / "a" / "000.png")
    source = open_source(f"folder:{tmp_path}", "val")
    with pytest.raises(BadImageError, match=r"a/000.png: 40000 x 1 pixels would become"):
        list(eval_batches(source, Preprocessing((224, 224)), batch_size=2))


@pytest.mark.fault("E9")
def test_empty_sources_and_uneven_batches_are_refused_before_iterating():
    class Empty:
        name, split, classes, fingerprint = "nothing", "test", ("a", "b"), ""

        def __len__(self):
            return 0

        def __getitem__(self, index):
            raise IndexError

    with pytest.raises(ValueError, match="nothing test has no examples"):
        eval_batches(Empty(), DIGITS, batch_size=4)
    with pytest.raises(ValueError, match="does not divide among 3"):
        eval_batches(TEST, DIGITS, batch_size=64, process_count=3)
    with pytest.raises(ValueError, match="threads is -1"):
        eval_batches(TEST, DIGITS, batch_size=64, threads=-1)
