"""ImageNet as a source: `open_imagenet("val", folder)`, whatever form the folder has."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from zoo.data.decode import BadImageError, decode_image
from zoo.data.download import default_data_dir
from zoo.data.imagenet.labels import TRAIN_IMAGES, VAL_IMAGES, real_labels, val_number, wnids
from zoo.data.imagenet.layout import Listing, find_listing
from zoo.data.imagenet.packed import has_manifest, open_packed
from zoo.data.imagenet.stores import Store
from zoo.data.records import Record, Source, content_fingerprint
from zoo.data.tfds_source import open_tfds

NAME = "imagenet2012"
COMPLETE = {"train": TRAIN_IMAGES, "val": VAL_IMAGES}


class ImageNetSource:
    """Encoded ImageNet pictures with canonical labels, decoded as RGB when asked for.

    Attributes:
      classes: WordNet ids in label order.
      labels: [n] int32.
      layout: the form of the files, in words; labels_from: where the labels stand.
      allowed: labels that answers may have; None allows all 1,000.
      real: ReaL labels of each example, None where they are not known.
    """

    def __init__(
        self,
        name: str,
        split: str,
        listing: Listing,
        *,
        allowed: Sequence[int] | None = None,
    ) -> None:
        self.name, self.split, self.layout = name, split, listing.layout
        self.store: Store = listing.store
        self.labels_from, self._comparable = listing.labels_from, listing.comparable
        self.labels = listing.labels
        self.classes = wnids()
        self.allowed = None if allowed is None else tuple(allowed)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over names and labels of all images: the same in every form of the files."""
        return content_fingerprint(self, listing_digest(self.store.names, self.labels))

    @property
    def real(self) -> list[list[int]] | None:
        """ReaL labels of each example where all are official validation images, else None."""
        if self.split != "val" or not self._comparable:
            return None
        numbers = [val_number(name) for name in self.store.names]
        known = real_labels()
        found = [known[number - 1] for number in numbers if number is not None]
        return found if len(found) == len(numbers) else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Record:
        return Record(
            decode_image(self.encoded(index), name=self.store.place(index)),
            int(self.labels[index]),
        )

    def encoded(self, index: int) -> bytes:
        """Bytes of an image file as the user has it.

        Raises:
          BadImageError: if they cannot be read.
        """
        try:
            return self.store.read(index)
        except OSError as error:
            reason = error.strerror or error
            place = self.store.place(index)
            raise BadImageError(f"{place}: cannot be read ({reason})") from error


def listing_digest(names: Sequence[str], labels: np.ndarray) -> str:
    """Hex sha256 over the names (without folders) and labels of a split, in order."""
    digest = hashlib.sha256()
    for line in listing_lines(names, labels):
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def listing_lines(names: Sequence[str], labels: np.ndarray) -> Iterator[str]:
    """A line "label, tab, name without folders" per image, in order."""
    for name, label in zip(names, labels, strict=True):
        yield f"{label}\t{name.rpartition('/')[2]}\n"


def data_folder(data_dir: str | Path | None) -> Path:
    """Where ImageNet is looked for: `data_dir`, else imagenet2012 in the default folder."""
    if data_dir is None:
        return default_data_dir() / NAME
    return Path(data_dir).expanduser().resolve()


def open_imagenet(split: str, data_dir: str | Path | None = None) -> Source:
    """A split of ImageNet ILSVRC-2012 in any of its forms; `zoo.data.imagenet.layout` has the list.

    A split that is not complete says so in its name, "imagenet2012[125 of 50000]".

    Args:
      split: "train" or "val" ("test" is the same: the official test labels are not public).
      data_dir: the folder; imagenet2012 in `default_data_dir()` when None.

    Raises:
      ValueError: if the split is not there or its labels contradict the official ones.
    """
    root = data_folder(data_dir)
    split = "train" if split == "train" else "val"
    tfds_root = next((p for p in (root, root.parent) if is_tfds(p / NAME)), None)
    if tfds_root is not None and not has_manifest(root):
        return _open_tfds(split, tfds_root)
    listing = open_listing(root, split)
    listing.check_labels()
    return source_of(listing, split)


def open_listing(root: Path, split: str) -> Listing:
    """The listing of a split, packed or in another form but TFDS; labels are not compared yet."""
    return open_packed(root, split) if has_manifest(root) else find_listing(root, split)


def source_of(listing: Listing, split: str) -> ImageNetSource:
    """A listing as a source, named by whether it is complete."""
    n = len(listing.labels)
    name = NAME if n == COMPLETE[split] else f"{NAME}[{n} of {COMPLETE[split]}]"
    return ImageNetSource(name, split, listing)


def is_tfds(folder: Path) -> bool:
    """Whether a folder holds versions of a data set that TFDS prepared."""
    return any(folder.glob("*/dataset_info.json"))


def _open_tfds(split: str, root: Path) -> Source:
    source = open_tfds(NAME, split, root)
    if source.classes != wnids():
        raise ValueError(
            f"{root / NAME} names its classes {', '.join(source.classes[:3])}, ...; expected are "
            "the 1,000 sorted WordNet ids: prepare it again with tfds"
        )
    return source
