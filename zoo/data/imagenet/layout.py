"""Finding a split of ImageNet in a folder, in whichever form the user has it.

Owns the official archives, Kaggle's tree, class folders and flat validation folders. Packed
shards are `zoo.data.imagenet.packed`, TFDS is `zoo.data.tfds_source`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.image_folder import IMAGE_SUFFIXES
from zoo.data.imagenet.label_lists import check_official, labels_of_val_names
from zoo.data.imagenet.labels import label_of_wnid, val_number
from zoo.data.imagenet.stores import Files, Store, TarMembers, is_image_name, list_tar
from zoo.data.records import MissingSplitError

TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"

_KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC")
_FOLDERS = {
    "train": ("train", "ILSVRC2012_img_train"),
    "val": ("val", "validation", "valid", "ILSVRC2012_img_val"),
}
_KNOWN_FORMS = (
    f"{TRAIN_TAR} and {VAL_TAR}; train/ and val/ with a folder per WordNet id; val/ with "
    "ILSVRC2012_val_*.JPEG; Kaggle's ILSVRC/Data/CLS-LOC; what `zoo data prepare` writes; or "
    "imagenet2012/ prepared by TFDS"
)


@dataclass(frozen=True)
class Listing:
    """The encoded images of a split in canonical order, and their labels.

    Official validation images stand in the order of their numbers, all others by label and name.

    Attributes:
      layout: the form they were found in, in words.
      store: the images.
      labels: int32 [n], positions of sorted WordNet ids.
      labels_from: where the labels stand.
      comparable: whether official file names mean official images; a user's own list of lines for
        a part of the images may number others.
    """

    layout: str
    store: Store
    labels: np.ndarray
    labels_from: str
    comparable: bool = True

    def check_labels(self) -> None:
        """Compares the labels of official validation images with the official ones.

        Raises:
          LabelOrderError: if any differs, with the count.
        """
        numbers = [val_number(name) for name in self.store.names] if self.comparable else []
        known = [(n, int(label)) for n, label in zip(numbers, self.labels, strict=False) if n]
        check_official([n for n, _ in known], [label for _, label in known], self.labels_from)


def find_listing(root: Path, split: str) -> Listing:
    """Lists a split that lies in `root` as archive, Kaggle tree, class folders or flat folder.

    Args:
      root: the folder.
      split: "train" or "val".

    Raises:
      MissingSplitError: if none of the forms is there.
      ValueError: if files are misplaced or an archive is damaged.
    """
    archive = root / (TRAIN_TAR if split == "train" else VAL_TAR)
    if archive.is_file():
        return _train_tar(archive) if split == "train" else _val_tar(archive)
    for kaggle in _KAGGLE:
        folder = root / kaggle / split
        if folder.is_dir():
            return _folder(folder, (root, folder.parent, folder), split, "Kaggle tree")
    for name in _FOLDERS[split]:
        if (root / name).is_dir():
            return _folder(root / name, (root, root / name), split, "")
    if split == "val" and root.is_dir() and _has_images(root):
        return _folder(root, (root,), split, "")
    raise MissingSplitError(
        f"{root} has no {split} split of ImageNet; known forms: {_KNOWN_FORMS}; "
        "give the folder that holds one of them"
    )


def _has_images(folder: Path) -> bool:
    known = label_of_wnid()
    return any(name in known or val_number(name) is not None for name in os.listdir(folder))


def _train_tar(archive: Path) -> Listing:
    members = []
    for name, offset, size in list_tar(archive):
        wnid = name.rpartition("/")[2].removesuffix(".tar")
        inner = list_tar(archive, offset, size)
        members += [(wnid, 0, file, start, length) for file, start, length in inner]
    return _tar_listing("official archive", [archive], members)


def _class_tars(folder: Path) -> Listing:
    archives = sorted(folder.glob("n*.tar"))
    members = [
        (path.stem, number, *member)
        for number, path in enumerate(archives)
        for member in list_tar(path)
    ]
    return _tar_listing("archive per class", archives, members)


def _tar_listing(
    layout: str, archives: list[Path], members: list[tuple[str, int, str, int, int]]
) -> Listing:
    members = [member for member in members if is_image_name(member[2], IMAGE_SUFFIXES)]
    labels = _labels_of_wnids([member[0] for member in members], archives[0].parent)
    store = TarMembers(archives, [member[1:] for member in members])
    return in_canonical_order(layout, store, labels, str(archives[0]))


def _val_tar(archive: Path) -> Listing:
    members = [
        (0, name, offset, size)
        for name, offset, size in list_tar(archive)
        if is_image_name(name, IMAGE_SUFFIXES)
    ]
    found = labels_of_val_names([m[1] for m in members], [archive.parent], str(archive))
    return in_canonical_order("official archive", TarMembers([archive], members), *found)


def _folder(folder: Path, label_folders: tuple[Path, ...], split: str, layout: str) -> Listing:
    if split == "train" and next(folder.glob("n*.tar"), None) is not None:
        return _class_tars(folder)
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    loose = [e.name for e in entries if is_image_name(e.name, IMAGE_SUFFIXES) and not e.is_dir()]
    classes = sorted(e.name for e in entries if e.is_dir() and e.name not in ("train", "val"))
    if loose and not any(name in label_of_wnid() for name in classes):
        if split == "train":
            raise ValueError(
                f"{folder} has {len(loose)} images without class folder, such as {loose[0]}; "
                "training images belong into a folder per WordNet id"
            )
        found = labels_of_val_names(loose, label_folders, str(folder))
        return in_canonical_order(layout or "flat folder", Files(folder, loose), *found)
    if loose:
        raise ValueError(
            f"{folder} has {len(loose)} images beside its {len(classes)} class folders, such as "
            f"{loose[0]}; move every image into the folder of its class"
        )
    paths = [path for name in classes for path in _images_below(folder, name)]
    labels = _labels_of_wnids([path.partition("/")[0] for path in paths], folder)
    return in_canonical_order(
        layout or "class folders", Files(folder, paths), labels, f"class folders of {folder}"
    )


def _images_below(folder: Path, name: str) -> list[str]:
    found = [e.name for e in os.scandir(folder / name) if is_image_name(e.name, IMAGE_SUFFIXES)]
    return [f"{name}/{file}" for file in found]


def _labels_of_wnids(given: list[str], place: Path) -> np.ndarray:
    known = label_of_wnid()
    odd = sorted(set(given) - set(known))
    if odd:
        raise ValueError(
            f"{place} has {len(odd)} classes that are not among the 1,000 WordNet ids of "
            f"ImageNet, such as {odd[0]!r}; rename or remove them, or read it as folder:PATH"
        )
    if not given:
        raise MissingSplitError(f"{place} has no images; it should hold a split of ImageNet")
    return np.asarray([known[wnid] for wnid in given], np.int32)


def in_canonical_order(
    layout: str, store: Store, labels: np.ndarray, labels_from: str, comparable: bool = True
) -> Listing:
    """Sorts a listing as `Listing` says; repeated file names in one class are refused."""
    names = store.names
    numbers = [val_number(name) for name in names]
    if all(number is not None for number in numbers):
        keys = np.asarray(numbers, np.int64)
        order = np.argsort(keys, kind="stable")
        repeated = np.flatnonzero(np.diff(keys[order]) == 0)
    else:
        order = np.lexsort((np.asarray(names), labels))
        same = [
            labels[a] == labels[b] and names[a] == names[b]
            for a, b in zip(order, order[1:], strict=False)
        ]
        repeated = np.flatnonzero(same)
    if repeated.size:
        raise ValueError(
            f"{store.place(int(order[repeated[0]]))} is there twice "
            f"({repeated.size} repeated names); remove one of each"
        )
    return Listing(layout, store.take(order), labels[order], labels_from, comparable)
