"""Are pictures of the user's own fit to be trained and measured on? Every finding says what to do.

ImageNet has checks of its own in `zoo.data.imagenet.checking`.
"""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from zoo.data.decode import BadImageError, decode_image, is_turned, read_image
from zoo.data.image_files import SPLIT_NAMES, ImageFiles, relative_name
from zoo.data.own_pictures import list_own
from zoo.data.records import Source, SourceView

SMALLEST_SIDE = 32
_LARGEST_RATIO = 10
_SHOWN = 5
_TRAINED = (*SPLIT_NAMES["train"], "all")

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class PictureCheck:
    """The findings of `check_pictures`.

    Attributes:
      data: the name of what was looked at.
      images: split -> class -> number of images.
      errors: what stops a training or makes its numbers wrong, one sentence each.
      warnings: what is worth knowing before.
      notes: what is counted and well.
      unreadable: the images that cannot be read, by their relative names.
    """

    data: str
    images: dict[str, dict[str, int]]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """All findings as JSON values, with `ok`: whether there are no errors."""
        return {"ok": not self.errors, **dataclasses.asdict(self)}


class _Image(NamedTuple):
    split: str
    label: str
    path: Path
    problem: str = ""
    digest: str = ""
    side: int = 0
    turned: bool = False


def check_pictures(
    data: str,
    *,
    smallest_side: int = SMALLEST_SIDE,
    workers: int = 8,
    bad_examples: Literal["error", "skip"] = "error",
    progress: Progress | None = None,
) -> PictureCheck:
    """Decodes every image of a folder or table and names all that is wrong with them at once.

    Errors: fewer than two classes, classes without images, splits with different classes, images
    that cannot be read. Warnings: equal pixels in two splits, equal pixels in two classes, a class
    with ten times the images of another or with a single one, images with a side below
    `smallest_side`.

    Args:
      data: "folder:PATH" or "csv:FILE".
      smallest_side: pixels of input per pixel of the network's last map.
      workers: images decoded at the same time.
      bad_examples: "skip" makes images that cannot be read a warning: they will be left out.
      progress: called as ("images", images done, images to do).

    Raises:
      ValueError: for a path that is not there, images beside class folders, or no such table.
    """
    root, splits = list_own(data)
    listed = [
        _Image(split, label, file)
        for split, classes in splits.items()
        for label, files in classes.items()
        for file in files
    ]
    looked = []
    with ThreadPoolExecutor(workers) as pool:
        for image in pool.map(_look, listed):
            looked.append(image)
            if progress is not None:
                progress("images", len(looked), len(listed))
    images = {s: {c: len(files) for c, files in cs.items()} for s, cs in splits.items()}
    skips = bad_examples == "skip"
    bad = _unreadable(looked, "are left out" if skips else "replace or remove them")
    return PictureCheck(
        data,
        images,
        (*_class_errors(images, data), *(() if skips else bad)),
        (
            *(bad if skips else ()),
            *_duplicates(looked),
            *_single(images),
            *_imbalance(images),
            *_small(looked, smallest_side),
        ),
        tuple(_turned(looked)),
        tuple(relative_name(image.path, root) for image in looked if image.problem),
    )


def without_unreadable(source: Source, workers: int = 8) -> tuple[Source, tuple[str, ...]]:
    """A source of the user's own pictures without those that cannot be read, and their names.

    Raises:
      ValueError: for another kind of source, or if none can be read.
    """
    if not isinstance(source, ImageFiles):
        raise ValueError(f"{source.name} is no folder or table of images; leave --bad-examples out")
    with ThreadPoolExecutor(workers) as pool:
        looked = list(pool.map(_look, (_Image("", "", path) for path in source.paths)))
    bad = tuple(n for n, image in zip(source.names, looked, strict=True) if image.problem)
    good = np.flatnonzero([not image.problem for image in looked])
    if not len(good):
        raise ValueError(f"{source.name} {source.split}: none of {len(bad)} images can be read")
    return (SourceView(source, source.name, good, source.classes) if bad else source), bad


def _look(image: _Image) -> _Image:
    try:
        data = read_image(image.path)
        pixels = decode_image(data, name=str(image.path), upright=True)
    except BadImageError as error:
        return image._replace(problem=str(error))
    digest = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    side = min(pixels.shape[:2])
    return image._replace(digest=digest, side=side, turned=is_turned(data))


def _class_errors(images: dict[str, dict[str, int]], data: str) -> list[str]:
    found, every = [], {name for classes in images.values() for name in classes}
    for split, classes in images.items():
        if len(classes) < 2:
            found.append(f"{split}: {len(classes)} classes; training needs 2 or more")
        if empty := [name for name, count in classes.items() if not count]:
            found.append(f"{split}: no images of {_some(empty)}; add some or remove the folders")
        # Rows of a table are labelled by name, so that only those trained on must be complete.
        needed = split in _TRAINED or not data.startswith("csv:")
        if (missing := sorted(every - set(classes))) and needed:
            found.append(f"{split}: no images of {_some(missing)}, which another split has")
    return found


def _unreadable(images: list[_Image], advice: str) -> list[str]:
    bad = [image.problem for image in images if image.problem]
    return [f"{len(bad)} images cannot be read, {advice}: {_some(bad)}"] if bad else []


def _duplicates(images: list[_Image]) -> list[str]:
    same = defaultdict(list)
    for image in images:
        if image.digest:
            same[image.digest].append(image)
    groups = [group for group in same.values() if len(group) > 1]
    across = [_pair(g, "split") for g in groups if len({image.split for image in g}) > 1]
    labels = [_pair(g, "label") for g in groups if len({image.label for image in g}) > 1]
    found = []
    if across:
        found.append(
            f"{len(across)} images are in two splits, pixel by pixel, so accuracy will look too "
            f"good; remove one of each: {_some(across)}"
        )
    if labels:
        found.append(f"{len(labels)} images are in two classes; remove one: {_some(labels)}")
    return found


def _pair(group: list[_Image], field: str) -> str:
    first = group[0]
    other = next(image for image in group if getattr(image, field) != getattr(first, field))
    return f"{first.path} = {other.path}"


def _single(images: dict[str, dict[str, int]]) -> list[str]:
    found = []
    for split, classes in images.items():
        single = [name for name, count in classes.items() if count == 1]
        if single and split in _TRAINED:
            found.append(
                f"{split}: a single image of {_some(single)}; it is trained on, and none is left "
                "to measure the class by"
            )
    return found


def _imbalance(images: dict[str, dict[str, int]]) -> list[str]:
    found = []
    for split, classes in images.items():
        counts = {name: count for name, count in classes.items() if count}
        if not counts:
            continue
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        ratio = counts[most] / counts[least]
        if ratio > _LARGEST_RATIO:
            found.append(
                f"{split}: {most} has {ratio:.1f} times the images of {least} ({counts[most]} and "
                f"{counts[least]}); top-1 will be mostly that of the large classes"
            )
    return found


def _small(images: list[_Image], smallest: int) -> list[str]:
    small = [str(image.path) for image in images if 0 < image.side < smallest]
    if not small:
        return []
    return [
        f"{len(small)} images have a side below {smallest} pixels, the reduction of the network, "
        f"and are enlarged: {_some(small)}"
    ]


def _turned(images: list[_Image]) -> list[str]:
    turned = [str(image.path) for image in images if image.turned]
    if not turned:
        return []
    return [
        f"{len(turned)} of {len(images)} images are stored turned or mirrored; they are shown to "
        f"the network upright, as their EXIF says: {_some(turned)}"
    ]


def _some(items: list[str]) -> str:
    return ", ".join(items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
