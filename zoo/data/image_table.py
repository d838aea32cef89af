"""Images listed in a CSV file: `csv:FILE` with the columns path and label, and split if it has one.

Paths are relative to the file's own folder, or whole. A split is train, val or test; without that
column every row belongs to all of them, as in a folder of class folders.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from zoo.data.image_files import (
    ALL_SPLIT_NAMES,
    SPLIT_NAMES,
    ByClass,
    ImageFiles,
    class_name,
    class_order,
    require_classes,
)

_PATH = ("path", "file", "filename", "image")
_LABEL = ("label", "class")
_SPLIT = ("split", "subset")
_ALL = "all"


class _Row(NamedTuple):
    path: Path
    label: str
    split: str


def open_image_table(path: str, split: str, exclude: Sequence[str] = ()) -> ImageFiles:
    """One split of a CSV file of images.

    Args:
      path: of the file.
      split: "train", "val" or "test"; the last two stand for each other where only one exists.
      exclude: files left out, as the table names them.

    Raises:
      ValueError: for a file that is no such table, a missing split, fewer than two classes, or
        classes that the training split does not have.
    """
    file = Path(path).expanduser().resolve()
    splits = list_table(file)
    key = _ALL if _ALL in splits else next((s for s in SPLIT_NAMES[split] if s in splits), None)
    if key is None:
        raise ValueError(
            f"{file} has no rows of the split {split!r} (found: {', '.join(splits)}); name it in "
            f"the column {_SPLIT[0]}"
        )
    trained = next((splits[name] for name in SPLIT_NAMES["train"] if name in splits), splits[key])
    unknown = sorted(set(splits[key]) - set(trained))
    if unknown:
        raise ValueError(f"{file}: {key} has classes that train has not: {', '.join(unknown[:5])}")
    files = {label: splits[key].get(label, ()) for label in class_order(trained)}
    require_classes(file, {label: len(found) for label, found in trained.items()}, "classes")
    return ImageFiles(file.parent, f"csv:{file.name}", split, files, exclude)


def split_names(path: str | Path) -> list[str]:
    """Names of the splits that the rows of a table have; none where they name none."""
    return [name for name in list_table(path) if name != _ALL]


def list_table(path: str | Path) -> dict[str, ByClass]:
    """Split -> class -> image files of a table; its only split is "all" where rows name none.

    Raises:
      ValueError: in one sentence with the number of the line, for whatever is no such table.
    """
    file = Path(path).expanduser().resolve()
    listed: dict[str, dict[str, list[Path]]] = {}
    seen: dict[tuple[str, Path], int] = {}
    for number, row in _rows(file):
        line = seen.setdefault((row.split, row.path), number)
        if line != number:
            raise ValueError(f"{file}: lines {line} and {number} both list {row.path}; remove one")
        listed.setdefault(row.split, {}).setdefault(row.label, []).append(row.path)
    if not listed:
        raise ValueError(f"{file} lists no image; give rows of path and label")
    if _ALL in listed and len(listed) > 1:
        raise ValueError(f"{file}: some rows name a split and some do not; fill the column")
    return {
        split: {label: classes[label] for label in class_order(classes)}
        for split, classes in listed.items()
    }


def _rows(file: Path) -> list[tuple[int, _Row]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            start = text.readline()
            text.seek(0)
            delimiter = max(",;\t", key=start.count)
            reader = csv.reader(text, delimiter=delimiter)
            header = [name.strip().lower() for name in next(reader, [])]
            places = [_place(file, header, names) for names in (_PATH, _LABEL)]
            split = next((header.index(name) for name in _SPLIT if name in header), None)
            return [
                (reader.line_num, _row(file, reader.line_num, cells, (*places, split)))
                for cells in reader
                if any(cell.strip() for cell in cells)
            ]
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); give csv:FILE") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a CSV file in UTF-8 ({error}); save it as one") from error


def _place(file: Path, header: Sequence[str], names: Sequence[str]) -> int:
    found = [header.index(name) for name in names if name in header]
    if not found:
        raise ValueError(
            f"{file} begins with {', '.join(header[:5])!r}; its first line must name the columns "
            f"{_PATH[0]} and {_LABEL[0]}"
        )
    return found[0]


def _row(file: Path, number: int, cells: Sequence[str], places: Sequence[int | None]) -> _Row:
    values = ["" if p is None or p >= len(cells) else cells[p].strip() for p in places]
    path, label, split = values[0], class_name(values[1]), values[2].lower()
    if not path or not label or "\0" in path:
        raise ValueError(f"{file} line {number} has no path or no label; fill or remove it")
    if split and split not in ALL_SPLIT_NAMES:
        raise ValueError(
            f"{file} line {number}: split {split!r}; allowed: {', '.join(ALL_SPLIT_NAMES)}"
        )
    return _Row(file.parent / Path(path), label, split or _ALL)
