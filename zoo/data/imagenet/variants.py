"""Other test sets for ImageNet's classes: ImageNet-V2, -A, -R and -Sketch.

All carry canonical labels. ImageNet-A and -R have 200 of the classes; answers are chosen from
those (`allowed`), as in the papers.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.download import default_data_dir
from zoo.data.image_folder import IMAGE_SUFFIXES
from zoo.data.imagenet.labels import label_of_wnid, subset_labels
from zoo.data.imagenet.layout import in_canonical_order
from zoo.data.imagenet.source import ImageNetSource
from zoo.data.imagenet.stores import Files, is_image_name
from zoo.data.records import MissingSplitError


@dataclass(frozen=True)
class Variant:
    """A test set: the name of its folder as distributed, its size, how folders name classes.

    With `numeric` the folders are labels 0 to 999, else WordNet ids.
    """

    folder: str
    images: int
    numeric: bool = False
    subset: bool = False


# Sources: arXiv 1902.10811 (V2), 1907.07174 (A), 2006.16241 (R), 1905.13549 (Sketch).
VARIANTS = {
    "imagenetv2": Variant("imagenetv2-matched-frequency-format-val", 10_000, numeric=True),
    "imagenet-a": Variant("imagenet-a", 7_500, subset=True),
    "imagenet-r": Variant("imagenet-r", 30_000, subset=True),
    "imagenet-sketch": Variant("sketch", 50_889),
}


def open_variant(name: str, split: str, data_dir: str | Path | None = None) -> ImageNetSource:
    """A test set by name, from its class folders.

    Args:
      name: a key of `VARIANTS`.
      split: "val" or "test"; there is nothing to train on.
      data_dir: the folder of class folders or the one above; `default_data_dir()` when None.

    Raises:
      MissingSplitError: for the split "train", or if the class folders are not there.
      ValueError: if a folder is none of the set's classes.
    """
    variant = VARIANTS[name]
    if split == "train":
        raise MissingSplitError(f"{name} is a test set; train on imagenet2012 and evaluate on it")
    root = default_data_dir() if data_dir is None else Path(data_dir).expanduser().resolve()
    places = (root, root / variant.folder, root / name)
    folder = next((place for place in places if _class_folders(place, variant)), None)
    if folder is None:
        kind = "0 to 999" if variant.numeric else "WordNet ids"
        raise MissingSplitError(
            f"{root} has no class folders of {name}, named by {kind}; unpack its archive there"
        )
    label_of = _labels(name, folder, variant)
    paths = [
        f"{wnid}/{file}"
        for wnid in label_of
        for file in os.listdir(folder / wnid)
        if is_image_name(file, IMAGE_SUFFIXES)
    ]
    labels = np.asarray([label_of[path.partition("/")[0]] for path in paths], np.int32)
    listing = in_canonical_order(
        "class folders", Files(folder, paths), labels, f"class folders of {folder}", False
    )
    n = len(paths)
    shown = name if n == variant.images else f"{name}[{n} of {variant.images}]"
    allowed = subset_labels(name) if variant.subset else None
    return ImageNetSource(shown, "test", listing, allowed=allowed)


def _class_folders(folder: Path, variant: Variant) -> list[str]:
    if not folder.is_dir():
        return []
    known = label_of_wnid()
    return [
        name
        for name in os.listdir(folder)
        if (name.isdecimal() if variant.numeric else name in known) and (folder / name).is_dir()
    ]


def _labels(name: str, folder: Path, variant: Variant) -> dict[str, int]:
    """Folder name -> label."""
    names = _class_folders(folder, variant)
    # Numbers are labels as they stand: sorted as text, 10 would come before 2.
    label_of = {n: int(n) if variant.numeric else label_of_wnid()[n] for n in names}
    allowed = set(subset_labels(name)) if variant.subset else set(range(1000))
    odd = sorted(n for n, label in label_of.items() if label not in allowed)
    if odd:
        raise ValueError(
            f"{folder} has {len(odd)} folders that are no classes of {name}, such as {odd[0]}; "
            "give the folder of that set alone"
        )
    return label_of
