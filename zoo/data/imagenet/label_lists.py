"""Labels of the validation images: the user's own list where there is one, else the bundled one.

Official file names have known labels, so whatever contradicts them is refused: labels in another
order give an accuracy of 0.1 % and no other sign.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from zoo.data.imagenet.labels import VAL_IMAGES, label_of_wnid, val_labels, val_number

LABEL_LISTS = ("val_labels.txt", "imagenet_2012_validation_synset_labels.txt")
KAGGLE_LIST = "LOC_val_solution.csv"

_DEVKIT = "the devkit numbers classes 1 to 1,000 in another order"


class LabelOrderError(ValueError):
    """Labels that contradict the official ones."""


def own_labels(folders: Sequence[Path]) -> tuple[Path, dict[int, int]] | None:
    """The user's label list, if one of the folders has one: its path, image number -> label.

    A list has a label 0 to 999 or a WordNet id per line, line i for image i; Kaggle's
    LOC_val_solution.csv names the images.

    Raises:
      LabelOrderError: if it has labels outside 0..999.
      ValueError: if it cannot be read.
    """
    paths = [folder / name for folder in folders for name in (*LABEL_LISTS, KAGGLE_LIST)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None
    try:
        labels = _kaggle_labels(path) if path.name == KAGGLE_LIST else _line_labels(path)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ValueError(
            f"{path} is not a list of labels ({error}); remove it and the bundled list is used"
        ) from error
    wrong = [label for label in labels.values() if not 0 <= label < 1000]
    if wrong:
        raise LabelOrderError(
            f"{path} has the label {wrong[0]}, allowed is 0 to 999 in the order of sorted WordNet "
            f"ids ({_DEVKIT}); remove the file and the bundled list is used"
        )
    return path, labels


def check_official(numbers: Sequence[int], labels: Sequence[int], place: str) -> None:
    """Refuses labels of official validation images that are not the official labels.

    Args:
      numbers: of the images, 1 to 50,000.
      labels: what `place` says about them.
      place: file or folder, for the message.

    Raises:
      LabelOrderError: if any differs, with the count.
    """
    official = val_labels()[np.asarray(numbers, np.int64) - 1]
    wrong = np.flatnonzero(official != np.asarray(labels))
    if wrong.size:
        first = wrong[0]
        raise LabelOrderError(
            f"{place} gives {wrong.size} of {len(numbers)} validation images another label than "
            f"the official one, first ILSVRC2012_val_{numbers[first]:08d}.JPEG: {labels[first]} "
            f"instead of {official[first]} (labels are the positions of sorted WordNet ids; "
            f"{_DEVKIT}); put the images flat into one folder and remove label lists of your own, "
            "then the bundled list is used"
        )


def labels_of_val_names(
    names: Sequence[str], folders: Sequence[Path], place: str
) -> tuple[np.ndarray, str, bool]:
    """Labels of flat validation files by their names.

    Returns:
      Labels int32 [n]; the list they come from; and whether they can be compared with the official
      ones, which a list of lines for a part of the images cannot: it may have numbers of its own.

    Raises:
      ValueError: if a name is not official, or the user's own list leaves it out.
    """
    numbers = [val_number(name) for name in names]
    odd = [name for name, number in zip(names, numbers, strict=True) if number is None]
    if odd:
        raise ValueError(
            f"{place} has {len(odd)} images without class folder and without official name, such "
            f"as {odd[0]}; expected are ILSVRC2012_val_00000001.JPEG to "
            f"ILSVRC2012_val_00050000.JPEG, or a folder per WordNet id"
        )
    own = own_labels(folders)
    if own is None:
        return val_labels()[np.asarray(numbers, np.int64) - 1], "the bundled list", True
    path, labels = own
    unknown = [name for name, number in zip(names, numbers, strict=True) if number not in labels]
    if unknown:
        raise ValueError(
            f"{path} has no label for {len(unknown)} of {len(names)} images of {place}, first "
            f"{unknown[0]}; complete the list, or remove it and the bundled one is used"
        )
    found = np.asarray([labels[number] for number in numbers if number is not None], np.int32)
    return found, str(path), path.name == KAGGLE_LIST or len(labels) == VAL_IMAGES


def _line_labels(path: Path) -> dict[int, int]:
    lines = path.read_text().split()
    known = label_of_wnid()
    labels = [int(line) if line.isdecimal() else known[line] for line in lines]
    return dict(enumerate(labels, start=1))


def _kaggle_labels(path: Path) -> dict[int, int]:
    known = label_of_wnid()
    with path.open(newline="") as file:
        rows = [
            (row["ImageId"], (row["PredictionString"] or "").split())
            for row in csv.DictReader(file)
        ]
    labels = {}
    for image, words in rows:
        number = val_number(f"{image}.JPEG")
        if number is None or not words:
            raise KeyError(f"line of {image!r}")
        labels[number] = known[words[0]]
    return labels
