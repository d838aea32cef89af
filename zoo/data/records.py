"""Records and random-access sources: what every data set looks like to the rest of the project.

Owns the `Source` protocol, the in-memory source and the views on a source: `subset` and `limit`.
Opening a data set by name is `zoo.data.sources`.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class MissingSplitError(ValueError):
    """A data set without the split that was asked for."""


class Record(NamedTuple):
    """One example: `image` [height, width, channels] uint8 with 1 or 3 channels, and its label."""

    image: np.ndarray
    label: int


@runtime_checkable
class Source(Protocol):
    """Random access to the examples of one split.

    A source may also offer `arrays`, a pair (images uint8 [n, h, w, c], labels int32 [n]): then
    the pipelines take whole batches out of it at once. `labels` alone, int32 [n], spares `subset`
    from reading every record; `encoded(index)`, the bytes of an image file, lets training decode
    only what it needs. For evaluation it may have `allowed`, the labels that answers are
    chosen from, and `real`, all labels that are right for each example.
    """

    name: str
    split: str
    classes: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over name, split, size and a cheap identity of the content."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Record: ...


def content_fingerprint(source: Source, content: Any) -> str:
    """Hex sha256 over a source's name, split, size, classes and the JSON value `content`."""
    identity = [source.name, source.split, len(source), list(source.classes), content]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


class ArraySource:
    """A split that lies in memory.

    Args:
      images: [n, height, width, channels] uint8, channels 1 or 3.
      labels: [n] integers in [0, len(classes)).

    Raises:
      ValueError: on another dtype or shape, or a label outside the classes.
    """

    def __init__(
        self,
        name: str,
        split: str,
        classes: Sequence[str],
        images: np.ndarray,
        labels: np.ndarray,
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise ValueError(
                f"{name}: images are {images.dtype} {list(images.shape)}, "
                "allowed is uint8 [n, height, width, 1 or 3]"
            )
        if len(images) != len(labels):
            raise ValueError(f"{name}: {len(images)} images but {len(labels)} labels")
        wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
        if wrong.size:
            raise ValueError(
                f"{name}: {wrong.size} labels lie outside 0..{len(classes) - 1}, "
                f"the first is {labels[wrong[0]]} at example {wrong[0]}"
            )
        self.name, self.split, self.classes = name, split, tuple(classes)
        self.labels = labels.astype(np.int32)
        self.arrays = (images, self.labels)

    @property
    def fingerprint(self) -> str:
        """Hex sha256 that covers every pixel and label."""
        digest = hashlib.sha256(np.ascontiguousarray(self.arrays[0]).data)
        digest.update(self.labels.data)
        return content_fingerprint(self, digest.hexdigest())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Record:
        return Record(self.arrays[0][index], int(self.labels[index]))


class SourceView:
    """Some examples of another source, in a given order, possibly under new labels."""

    def __init__(
        self,
        source: Source,
        name: str,
        indices: np.ndarray,
        classes: Sequence[str],
        new_labels: dict[int, int] | None = None,
        split: str | None = None,
    ) -> None:
        self.source, self.name, self.split = source, name, split or source.split
        self.classes = tuple(classes)
        self.indices = indices
        self._new_labels = new_labels
        real = getattr(source, "real", None) if new_labels is None else None
        self.real = None if real is None else [real[int(index)] for index in indices]
        self.allowed = getattr(source, "allowed", None) if new_labels is None else None
        arrays, labels = getattr(source, "arrays", None), getattr(source, "labels", None)
        if labels is not None:
            chosen = [self.new_label(int(label)) for label in labels[indices]]
            self.labels = np.asarray(chosen, np.int32)
        if arrays is not None:
            self.arrays = (arrays[0][indices], self.labels)

    def new_label(self, label: int) -> int:
        """The label that one of the viewed source has here."""
        return label if self._new_labels is None else self._new_labels[label]

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over the viewed source's fingerprint and the chosen examples."""
        chosen = hashlib.sha256(self.indices.astype("<i8").tobytes()).hexdigest()
        return content_fingerprint(self, [self.source.fingerprint, chosen])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:
        image, label = self.source[int(self.indices[index])]
        return Record(image, self.new_label(label))


def subset(source: Source, classes: Sequence[str | int]) -> SourceView:
    """The examples of some classes, relabelled 0, 1, ... in the order given.

    Args:
      source: any source.
      classes: class names, or labels as integers; at least two, each once.

    Raises:
      ValueError: on an unknown or repeated class, fewer than two classes, or a class without
        examples.
    """
    known = {name: label for label, name in enumerate(source.classes)}
    unknown = [c for c in classes if c not in known and c not in range(len(source.classes))]
    if unknown:
        raise ValueError(
            f"{source.name} has no class {unknown[0]!r}; its classes: {', '.join(source.classes)}"
        )
    chosen = [c if isinstance(c, int) else known[c] for c in classes]
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        raise ValueError(f"a subset needs two or more different classes, given: {list(classes)}")
    labels = source_labels(source)
    empty = [source.classes[label] for label in chosen if not np.any(labels == label)]
    if empty:
        raise ValueError(f"{source.name} {source.split} has no example of {', '.join(empty)}")
    indices = np.flatnonzero(np.isin(labels, chosen))
    new_labels = {old: new for new, old in enumerate(chosen)}
    names = [source.classes[label] for label in chosen]
    return SourceView(source, f"{source.name}[{','.join(names)}]", indices, names, new_labels)


def limit(source: Source, n: int) -> SourceView:
    """`n` examples spread evenly over the source: example k is number k * len(source) // n.

    Even spacing keeps the class balance of sources that are sorted by class.

    Raises:
      ValueError: if n is not between 1 and len(source).
    """
    if not 1 <= n <= len(source):
        raise ValueError(f"cannot take {n} examples of {source.name}, which has {len(source)}")
    indices = np.arange(n, dtype=np.int64) * len(source) // n
    return SourceView(source, f"{source.name}[:{n}]", indices, source.classes)


def source_labels(source: Source) -> np.ndarray:
    """Labels of all examples, int32 [n]; read record by record where the source keeps no list."""
    labels = getattr(source, "labels", None)
    if labels is None:
        labels = [source[index].label for index in range(len(source))]
    return np.asarray(labels, np.int32)


def origin_of(source: Source) -> Source:
    """The source behind all views of it."""
    return origin_of(source.source) if isinstance(source, SourceView) else source


def file_of(source: Source, index: int) -> Path | None:
    """The file of an image, where the source keeps files."""
    if isinstance(source, SourceView):
        return file_of(source.source, int(source.indices[index]))
    paths = getattr(source, "paths", None)
    return None if paths is None else paths[index]


def encoded_record(source: Source, index: int) -> tuple[bytes, int] | None:
    """The file of an image and its label, as `Record` has it; None where there are no files.

    Raises:
      BadImageError: if the file cannot be read.
    """
    if isinstance(source, SourceView):
        found = encoded_record(source.source, int(source.indices[index]))
        return None if found is None else (found[0], source.new_label(found[1]))
    encoded = getattr(source, "encoded", None)
    return None if encoded is None else (encoded(index), int(source_labels(source)[index]))


def example_names(source: Source) -> list[str]:
    """A name per example: its file, from the folder of the data on, or else its number."""
    if isinstance(source, SourceView):
        names = example_names(source.source)
        return [names[int(index)] for index in source.indices]
    named = getattr(source, "store", source)
    return list(getattr(named, "names", map(str, range(len(source)))))
