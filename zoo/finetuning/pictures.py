"""What fine-tuning looks at before it trains: is the data sound, how large, has it colours?"""

import dataclasses
import logging
from typing import Literal, NamedTuple

import numpy as np

from zoo.classifier import Classifier
from zoo.data import Preprocessing, Source
from zoo.data.checking import check_pictures
from zoo.data.own_pictures import is_own

_log = logging.getLogger("zoo.finetuning")
_LOOKED_AT = 16
# Larger networks see enough of any picture: the usual size of ImageNet's.
_LARGE_ENOUGH = 224
_REDUCED = 1.25


class Look(NamedTuple):
    """Median height and width in pixels of some images, and whether most of them have colours."""

    height: int
    width: int
    is_coloured: bool


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found odd about the data.

    Attributes:
      warnings: one sentence each.
      exclude: images that cannot be read and are left out.
    """

    warnings: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def look_at(source: Source) -> Look:
    """Some images, evenly spread over a source, at a glance.

    Raises:
      BadImageError: if one of them cannot be read.
    """
    count = min(_LOOKED_AT, len(source))
    images = [source[k * len(source) // count].image for k in range(count)]
    height, width = (int(np.median([image.shape[axis] for image in images])) for axis in (0, 1))
    coloured = [bool(np.ptp(image.astype(np.int16), axis=-1).max() > 0) for image in images]
    return Look(height, width, sum(coloured) > count / 2)


def require_sound(
    data: str, model: Classifier, bad_examples: Literal["error", "skip"] = "error"
) -> Findings:
    """Looks at every picture of the user's own before it is trained on.

    Args:
      data: name of the data; only "folder:PATH" and "csv:FILE" are looked at.
      model: that is going to see it.
      bad_examples: "skip" leaves out images that cannot be read.

    Raises:
      ValueError: with every error that `check_pictures` finds.
    """
    if not is_own(data):
        return Findings()
    smallest = model.network.feature_info[-1].stride
    found = check_pictures(data, smallest_side=smallest, bad_examples=bad_examples)
    if found.errors:
        raise ValueError(f"{data} cannot be trained on:\n  " + "\n  ".join(found.errors))
    return Findings(found.warnings, found.unreadable)


def size_warning(look: Look, preprocessing: Preprocessing) -> tuple[str, ...]:
    """A sentence where the network sees much less of the pictures than there is."""
    height, width = preprocessing.image_size
    seen, there = min(height, width), min(look.height, look.width)
    if min(there, _LARGE_ENOUGH) < _REDUCED * seen:
        return ()
    grey = " grey" if preprocessing.channels == 1 and look.is_coloured else ""
    return (
        f"{look.height} x {look.width} pictures are reduced to {height} x {width}{grey}; "
        "--image-size keeps more of them",
    )
