"""Image files of the user's own, each with the name of its class: what folders and tables share.

Owns the order of classes and of examples, and what a file's name has to look like.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from zoo.data.decode import decode_image, read_image
from zoo.data.records import Record, content_fingerprint

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test"),
    "test": ("test", "val", "valid", "validation"),
}
ALL_SPLIT_NAMES = tuple(dict.fromkeys(sum(SPLIT_NAMES.values(), ())))
ByClass = Mapping[str, Sequence[Path]]
"""Class name -> its image files, classes in the order of their labels."""


class ImageFiles:
    """Image files, decoded when asked for, always as RGB and upright.

    Examples are sorted by class. Classes are in sorted order; when all names are numbers, in the
    order of the numbers.

    Args:
      root: folder that the names of files are relative to.
      name: of the data set.
      split: "train", "val" or "test".
      files: the files of every class, classes in the order of their labels.
      exclude: files left out, relative to `root`.

    Attributes:
      paths: the image files.
      names: the same, relative to `root`.
      labels: [n] int32.
      own: true; these are the user's own pictures, which are shown upright.

    Raises:
      ValueError: if `exclude` leaves a class without images.
    """

    own = True

    def __init__(
        self, root: Path, name: str, split: str, files: ByClass, exclude: Sequence[str] = ()
    ) -> None:
        self.name, self.split, self.root, self.classes = name, split, root, tuple(files)
        left_out = frozenset(exclude)
        kept = {
            label: [path for path in paths if relative_name(path, root) not in left_out]
            for label, paths in files.items()
        }
        lost = [label for label, paths in kept.items() if files[label] and not paths]
        if lost:
            raise ValueError(
                f"{name} {split} has no image of {lost[0]} left without those that cannot be read; "
                "replace them or remove the class"
            )
        self.paths = [path for paths in kept.values() for path in paths]
        self.names = [relative_name(path, root) for path in self.paths]
        counts = [len(paths) for paths in kept.values()]
        self.labels = np.repeat(np.arange(len(kept)), counts).astype(np.int32)

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over the relative path and size of every image file."""
        digest = hashlib.sha256()
        for name, path in zip(self.names, self.paths, strict=True):
            digest.update(f"{name}\0{path.stat().st_size}\n".encode(errors="surrogateescape"))
        return content_fingerprint(self, digest.hexdigest())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Record:
        return Record(decode_image(self.paths[index], upright=True), int(self.labels[index]))

    def encoded(self, index: int) -> bytes:
        """Bytes of an image file.

        Raises:
          BadImageError: if they cannot be read.
        """
        return read_image(self.paths[index])


def relative_name(path: Path, root: Path) -> str:
    """How a file is called in lists: relative to `root`, whole where it lies elsewhere."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def class_order(names: Iterable[str]) -> list[str]:
    """Class names in the order of their labels."""
    names = list(names)
    numeric = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name) if numeric else 0, name))


def class_name(text: str) -> str:
    """A class as it is compared: Unicode NFC, so that two systems' spellings are one."""
    return unicodedata.normalize("NFC", text)


def require_classes(where: Path, counts: Mapping[str, int], kind: str) -> None:
    """Refuses fewer than two classes, and classes without images.

    Raises:
      ValueError: with the number of images of every class.
    """
    empty = [name for name, count in counts.items() if count == 0]
    if len(counts) < 2 or empty:
        shown = ", ".join(f"{name}: {count}" for name, count in list(counts.items())[:20])
        problem = (
            f"{len(empty)} of {len(counts)} classes without images ({', '.join(empty[:5])})"
            if empty
            else f"{len(counts)} {kind}, needed are 2 or more"
        )
        raise ValueError(f"{where} has {problem}; images per class: {shown or 'none'}")
