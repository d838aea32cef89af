"""Opening a data set by name: `open_source("cifar10", "train")`; `register_source` adds one.

What a name means is `zoo.data.address`'s, what a source is `zoo.data.records`'; each kind of source
has a module.
"""

import functools
from collections.abc import Callable, Sequence

from zoo.data.address import add_name, parse_data
from zoo.data.cifar import CIFAR10, CIFAR100, open_cifar
from zoo.data.digits import open_digits
from zoo.data.holdout import holdout, remainder
from zoo.data.imagenet.source import open_imagenet
from zoo.data.imagenet.variants import VARIANTS, open_variant
from zoo.data.own_pictures import is_own, open_own
from zoo.data.records import (
    ArraySource,
    Record,
    Source,
    limit,
    source_labels,
    subset,
)
from zoo.data.tfds_source import open_tfds

__all__ = [
    "ArraySource",
    "Record",
    "Source",
    "limit",
    "open_source",
    "register_source",
    "source_labels",
    "subset",
]

SPLITS = ("train", "val", "test", "holdout", "remainder")
Opener = Callable[[str, str | None], Source]
"""Opens a split, of files in a folder: (split, data_dir) -> source."""

_OPENERS: dict[str, Opener] = {
    "digits": lambda split, data_dir: open_digits(split),
    "cifar10": functools.partial(open_cifar, CIFAR10),
    "cifar100": functools.partial(open_cifar, CIFAR100),
    "imagenet2012": open_imagenet,
    **{name: functools.partial(open_variant, name) for name in VARIANTS},
}
_PARTS_OF_TRAIN = {"holdout": holdout, "remainder": remainder}


def open_source(
    spec: str, split: str, *, data_dir: str | None = None, exclude: Sequence[str] = ()
) -> Source:
    """Open one split of a data set.

    Args:
      spec: "digits", "cifar10", "cifar100", "imagenet2012" (archives, Kaggle's tree, class
        folders, flat validation images, TFDS or packed), its test sets "imagenetv2",
        "imagenet-a", "imagenet-r" and "imagenet-sketch", "folder:PATH" (class folders of images),
        "csv:FILE" (a table with the columns path and label, and split if it has one)
        or "tfds:NAME" (a TensorFlow data set already prepared as ArrayRecord), or what
        `register_source` added.
      split: "train", "val" or "test"; the last two name the same split where only one exists.
        "holdout" and "remainder" are two parts of train, see `zoo.data.holdout`.
      data_dir: where the files of all but digits, folders and tables are; each has a default.
      exclude: files of a folder or table that are left out, as their relative names.

    Raises:
      ValueError: if the name or split is unknown, or the data is missing or damaged.

    Example:
      test = open_source("digits", "test")
      image, label = test[0]  # uint8 [8, 8, 1], int
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, allowed: {', '.join(SPLITS)}")
    if part := _PARTS_OF_TRAIN.get(split):
        return part(open_source(spec, "train", data_dir=data_dir, exclude=exclude))
    if is_own(spec):
        return open_own(spec, split, exclude)
    if exclude:
        raise ValueError(f"{spec} is no folder or table of images, of which files can be left out")
    address = parse_data(spec)
    if address.kind == "tfds":
        return open_tfds(address.name, split, data_dir)
    return _OPENERS[address.name](split, data_dir)


def register_source(name: str, opener: Opener) -> None:
    """Adds a data set, so that configurations and functions know it by name.

      zoo.register_source("stars", lambda split, data_dir: Stars(data_dir, split))

    A configuration file registers it where it is imported: every process of a run reads that file.

    Args:
      name: of lower-case letters, digits, - and _.
      opener: called with a split ("train", "val" or "test"; it may refuse what it does not have)
        and the configuration's `data_dir`; gives a `Source`.

    Raises:
      ValueError: if the name is taken or has other characters.
    """
    add_name(name)
    _OPENERS[name] = opener
