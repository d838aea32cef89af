"""Is this folder ImageNet, whole and rightly labelled? Every finding says what to do about it."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zoo.common.files import file_digest
from zoo.data.imagenet.labels import label_of_wnid, wnids
from zoo.data.imagenet.layout import TRAIN_TAR, VAL_TAR
from zoo.data.imagenet.packed import has_manifest, read_manifest
from zoo.data.imagenet.sampling import Looked, look_at
from zoo.data.imagenet.source import (
    COMPLETE,
    NAME,
    ImageNetSource,
    is_tfds,
    open_imagenet,
    open_listing,
    source_of,
)
from zoo.data.records import MissingSplitError

SAMPLE = 2_000

# Sizes and MD5 sums published on image-net.org beside the archives.
_ARCHIVES = {
    "train": (TRAIN_TAR, 147_897_477_120, "1d675b47d978889d74fa0da5fadfb00e"),
    "val": (VAL_TAR, 6_744_924_160, "29b22e2961454d5413ddabcf34fc5622"),
}
_VAL_PER_CLASS = 50
_ENTIRE_SHARDS = 4

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class SplitCheck:
    """What was found in one split.

    Attributes:
      layout: form of the files, in words; labels_from: where the labels stand.
      images, classes: how many there are.
      decoded: images that were read to their end.
      sample_sha256: over names and contents of those; equal for every intact copy in any form.
      problems: what makes numbers wrong or stops a run, one sentence each with what to do.
      notes: what is worth knowing.
    """

    layout: str
    labels_from: str
    images: int
    classes: int
    decoded: int
    sample_sha256: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class DataCheck:
    """The findings of `check_imagenet`: per split, and about the folder as a whole."""

    folder: str
    splits: dict[str, SplitCheck]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def all_problems(self) -> list[str]:
        """Problems of the folder and of its splits; none means that the data can be used."""
        return [*self.problems, *(p for split in self.splits.values() for p in split.problems)]

    def to_json(self) -> dict[str, Any]:
        """All findings as JSON values, with `ok`."""
        return {"ok": not self.all_problems, **dataclasses.asdict(self)}


def check_imagenet(
    folder: str | Path,
    *,
    sample: int = SAMPLE,
    everything: bool = False,
    partial: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> DataCheck:
    """Counts, labels, and a sample of the images of ImageNet in any form.

    Args:
      folder: as for `open_source("imagenet2012", ..., data_dir=folder)`.
      sample: images per split to decode, evenly spaced.
      everything: decode all images and hash all archives and shards.
      partial: the folder is meant to hold a part only; do not report missing images.
      workers: images decoded at the same time; None: one per core.
      progress: called as (split, images done, images to do).

    Raises:
      ValueError: if `folder` is not a folder.
    """
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give the one that holds ImageNet")
    if sample < 1:
        raise ValueError(f"sample={sample}; give 1 or more, or --everything")
    splits, problems, notes = {}, [], []
    for split in COMPLETE:
        try:
            source, found = _opened(root, split)
        except MissingSplitError as error:
            notes.append(f"no {split} split: {error}")
            continue
        except ValueError as error:
            problems.append(f"{split}: {error}")
            continue
        size = len(source) if everything else min(sample, len(source))
        found += _count_problems(source, split, partial)
        found += _file_problems(root, split, everything, partial)
        if isinstance(source, ImageNetSource):
            found += _misfiled(source, split)
        chosen = np.arange(size, dtype=np.int64) * len(source) // size
        looked = look_at(source, split, chosen, workers, progress)
        splits[split] = _report(source, split, looked, found)
    problems += _extra_shards(root)
    if not splits and not problems:
        problems, notes = [note.split(": ", 1)[1] for note in notes[:1]], []
    return DataCheck(str(root), splits, tuple(problems), tuple(notes))


def _opened(root: Path, split: str) -> tuple[Any, list[str]]:
    """The split, and what is wrong with its labels."""
    if not has_manifest(root) and any(is_tfds(p / NAME) for p in (root, root.parent)):
        return open_imagenet(split, root), []
    listing = open_listing(root, split)
    try:
        listing.check_labels()
    except ValueError as error:
        return source_of(listing, split), [f"{split}: {error}"]
    return source_of(listing, split), []


def _count_problems(source: Any, split: str, partial: bool) -> list[str]:
    if partial:
        return []
    found, complete = [], COMPLETE[split]
    labels = getattr(source, "labels", None)
    if len(source) != complete:
        counts = np.bincount(labels, minlength=1000) if labels is not None else np.ones(1000)
        empty = [wnids()[label] for label in np.flatnonzero(counts == 0)]
        classes = f", {len(empty)} classes have none, first {empty[0]}" if empty else ""
        found.append(
            f"{split}: {len(source):,} of {complete:,} images{classes}; get the missing ones, or "
            "say --partial if this is all there should be"
        )
    elif split == "val" and labels is not None:
        counts = np.bincount(labels, minlength=1000)
        odd = np.flatnonzero(counts != _VAL_PER_CLASS)
        if odd.size:
            found.append(
                f"val: {odd.size} classes have not {_VAL_PER_CLASS} images, first "
                f"{wnids()[odd[0]]} with {counts[odd[0]]}; check the folders and label lists"
            )
    return found


def _file_problems(root: Path, split: str, everything: bool, partial: bool) -> list[str]:
    """Archives and shards against their published or recorded sizes and hashes."""
    name, size, md5 = _ARCHIVES[split]
    if has_manifest(root):
        shards = read_manifest(root)[split].shards
        step = 1 if everything else max(1, len(shards) // _ENTIRE_SHARDS)
        return [
            f"{split}: {root / shard.file} is not what was packed (its sha256 differs); copy it "
            "again or prepare it again"
            for shard in shards[::step]
            if file_digest(root / shard.file)["sha256"] != shard.sha256
        ]
    archive = root / name
    if partial or not archive.is_file():
        return []
    actual = archive.stat().st_size
    if actual != size:
        return [f"{split}: {archive} has {actual:,} bytes, the official one {size:,}; get it again"]
    if everything:
        with archive.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != md5:
                return [f"{split}: {archive} has not the published MD5 sum {md5}; get it again"]
    return []


def _extra_shards(root: Path) -> list[str]:
    """Shards beside those of the manifest: traces of a copy that mixes two preparations."""
    if not has_manifest(root):
        return []
    try:
        splits = read_manifest(root).values()
    except ValueError:
        return []  # reported for each split
    known = {shard.file for split in splits for shard in split.shards}
    extra = sorted(path.name for path in root.glob("*.array_record") if path.name not in known)
    if not extra:
        return []
    return [
        f"{len(extra)} shards are not in the manifest, first {extra[0]}; remove or replace them"
    ]


def _misfiled(source: ImageNetSource, split: str) -> list[str]:
    """Training images whose name begins with the id of another class than their folder's."""
    known = label_of_wnid()
    wrong = [
        name
        for name, label in zip(source.store.names, source.labels, strict=True)
        if known.get(name.partition("_")[0], label) != label
    ]
    if not wrong:
        return []
    return [
        f"{split}: {len(wrong)} images are in the folder of another class than their name says, "
        f"first {wrong[0]}; move them, or unpack the archive again"
    ]


def _report(source: Any, split: str, looked: Looked, problems: list[str]) -> SplitCheck:
    if looked.bad:
        problems.append(
            f"{split}: {len(looked.bad)} of {looked.count} images looked at cannot be decoded, get "
            f"them again: {looked.bad_images()}"
        )
    notes = [
        f"{split}: {count} of {looked.count} images are {kind}, first {name}; nothing to do, they "
        "are read as RGB (the official set has 1 PNG and 22 CMYK files)"
        for kind, (count, name) in looked.odd.items()
    ]
    labels = getattr(source, "labels", None)
    return SplitCheck(
        layout=getattr(source, "layout", "TFDS"),
        labels_from=getattr(source, "labels_from", "TFDS"),
        images=len(source),
        classes=len(source.classes) if labels is None else len(np.unique(labels)),
        decoded=looked.count,
        sample_sha256=looked.sha256,
        problems=tuple(problems),
        notes=tuple(notes),
    )
