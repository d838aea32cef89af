"""What is known about ImageNet without its pictures: classes, validation labels, ReaL labels.

The canonical label of a class is its index among the 1,000 sorted WordNet ids. Everything comes
out of the bundled `labels.json.xz`; `SOURCES.txt` beside it states origins and terms.
"""

import functools
import json
import lzma
import re
from importlib import resources
from typing import Any

import numpy as np

TRAIN_IMAGES, VAL_IMAGES = 1_281_167, 50_000

_WNID = re.compile(r"n\d{8}$")
_VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.[A-Za-z]+$")


def wnids() -> tuple[str, ...]:
    """The 1,000 WordNet ids, sorted; the position is the label."""
    return tuple(_bundle()["wnids"])


def class_names() -> tuple[str, ...]:
    """Names of the classes in label order, such as "tench, Tinca tinca"; two of them repeat."""
    return tuple(_bundle()["names"])


@functools.cache
def label_of_wnid() -> dict[str, int]:
    """WordNet id -> label."""
    return {wnid: label for label, wnid in enumerate(wnids())}


def readable(name: str) -> str:
    """The first name of a class given by its WordNet id, such as "tench"; others as they are."""
    label = label_of_wnid().get(name) if _WNID.match(name) else None
    return name if label is None else class_names()[label].partition(",")[0]


@functools.cache
def val_labels() -> np.ndarray:
    """Labels of ILSVRC2012_val_00000001.JPEG and the 49,999 that follow, int32 [50000]."""
    return np.asarray(_bundle()["val"], np.int32)


def real_labels() -> list[list[int]]:
    """ReaL labels in the order of `val_labels`; 3,163 images have none and are left out.

    Source: Beyer et al. 2020, "Are we done with ImageNet?"; arXiv 2006.07159.
    """
    return _bundle()["real"]


def subset_labels(name: str) -> tuple[int, ...]:
    """The 200 labels of "imagenet-a" or "imagenet-r"."""
    return tuple(_bundle()[name])


def val_number(file_name: str) -> int | None:
    """Number of an official validation image, 1 to 50,000, by its file name; None for others."""
    match = _VAL_NAME.search(file_name)
    number = int(match.group(1)) if match else 0
    return number if 1 <= number <= VAL_IMAGES else None


@functools.cache
def _bundle() -> dict[str, Any]:
    packed = resources.files("zoo.data.imagenet").joinpath("labels.json.xz").read_bytes()
    return json.loads(lzma.decompress(packed))
