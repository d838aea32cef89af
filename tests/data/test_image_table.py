"""A table of paths and labels is a folder of class folders in another form."""

import csv

import numpy as np
import pytest

from tests.data.conftest import save_images
from zoo.data import open_source
from zoo.data.checking import check_pictures


def written(folder, rows, header=("path", "label"), delimiter=",", name="table.csv"):
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


@pytest.fixture
def pictures(tmp_path):
    save_images(tmp_path, {"train/b": 3, "train/a, b": 2, "test/b": 1, "test/a, b": 2})
    return tmp_path


def listed(folder):
    return [
        (path.relative_to(folder).as_posix(), path.parent.name, path.parts[-3])
        for path in sorted(folder.rglob("*.png"))
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header",
    [("path", "label", "split"), ("File", "Class", "Subset"), (" image ", "label", "split")],
)
def test_a_table_is_the_folder_it_lists(pictures, header, delimiter):
    table = written(pictures, listed(pictures), header, delimiter)
    for split in ("train", "test", "val", "holdout", "remainder"):
        ours, theirs = (open_source(s, split) for s in (f"csv:{table}", f"folder:{pictures}"))
        assert (ours.classes, ours.labels.tolist()) == (theirs.classes, theirs.labels.tolist())
        assert all(np.array_equal(ours[i].image, theirs[i].image) for i in range(len(theirs))), (
            split
        )


def test_without_splits_every_split_is_all_rows(pictures):
    table = written(pictures, [row[:2] for row in listed(pictures)])
    assert (
        len(open_source(f"csv:{table}", "train")) == len(open_source(f"csv:{table}", "test")) == 8
    )


def test_paths_may_be_whole_and_classes_are_ordered_like_folders(pictures, tmp_path_factory):
    rows = [(pictures / path, 10 - i % 2) for i, (path, *_) in enumerate(listed(pictures))]
    table = written(tmp_path_factory.mktemp("elsewhere"), rows)
    source = open_source(f"csv:{table}", "train")
    assert source.classes == ("9", "10") and source[0].image.shape == (6, 7, 3)


def test_a_test_split_may_lack_a_class_but_not_have_its_own(pictures):
    rows = [row for row in listed(pictures) if row[1:] != ("b", "test")]
    source = open_source(f"csv:{written(pictures, rows, ('path', 'label', 'split'))}", "test")
    assert (source.classes, source.labels.tolist()) == (("a, b", "b"), [0, 0])
    rows += [("test/b/000.png", "c", "test")]
    table = written(pictures, rows, ("path", "label", "split"))
    with pytest.raises(ValueError, match="test has classes that train has not: c"):
        open_source(f"csv:{table}", "test")
    assert "train: no images of c" in check_pictures(f"csv:{table}").errors[0]


def test_a_check_finds_what_is_wrong_with_the_files(pictures):
    rows = [*listed(pictures), ("gone.png", "b", "train"), ("table.csv", "b", "train")]
    table = written(pictures, rows, ("path", "label", "split"))
    found = check_pictures(f"csv:{table}")
    assert found.unreadable == ("gone.png", "table.csv")
    assert "2 images cannot be read, replace or remove them" in found.errors[0]
    kept = open_source(f"csv:{table}", "train", exclude=found.unreadable)
    assert len(kept) == 5


HEADER = ("path", "label", "split")
MISTAKES = {
    "no header": ([], ("a.png", "cat"), "its first line must name the columns path and label"),
    "no rows": ([], HEADER, "lists no image"),
    "no label": ([("a.png", "")], HEADER, "line 2 has no path or no label"),
    "short": ([("a.png",)], HEADER, "line 2 has no path or no label"),
    "unknown split": ([("a.png", "x", "dev")], HEADER, "line 2: split 'dev'; allowed: train"),
    "some splits": ([("a", "x", "train"), ("b", "y", "")], HEADER, "some rows name a split"),
    "twice": ([("a", "x", "train"), ("a", "y", "train")], HEADER, "lines 2 and 3 both list"),
    "one class": ([("a", "x", "train")], HEADER, "1 classes, needed are 2 or more"),
    "no train": ([("a", "x", "val"), ("b", "y", "val")], HEADER, "no rows of the split 'train'"),
}


@pytest.mark.parametrize(("rows", "header", "match"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_no_such_table_is_refused_with_its_line(tmp_path, rows, header, match):
    with pytest.raises(ValueError, match=match):
        open_source(f"csv:{written(tmp_path, rows, header)}", "train")


def test_any_bytes_end_in_a_table_or_a_sentence(pictures):
    whole = written(pictures, listed(pictures), HEADER).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(damaged), 3):
            damaged[place] = generator.choice(
                [0, 10, 13, 34, 44, 200, int(generator.integers(256))]
            )
        path = pictures / "damaged.csv"
        path.write_bytes(damaged[: generator.integers(len(damaged) // 2, len(damaged))])
        try:
            assert len(open_source(f"csv:{path}", "train"))
        except ValueError as error:
            assert str(path) in str(error)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.csv cannot be read .*; give csv:FILE"):
        open_source(f"csv:{tmp_path / 'none.csv'}", "train")
