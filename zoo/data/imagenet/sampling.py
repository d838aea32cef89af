"""Reading chosen images to their end: which are damaged, which are not what their name says."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from zoo.data.decode import BadImageError, ImageForm, check_image
from zoo.data.imagenet.source import ImageNetSource

_SHOWN = 10
_CHUNK = 4096  # futures at a time; a million would hold a gigabyte


@dataclasses.dataclass
class Looked:
    """What reading `count` images showed.

    Attributes:
      sha256: over names and contents, in order.
      bad: errors of those that cannot be decoded.
      odd: kind -> how many and the first name, of those that are read but unusual.
    """

    count: int
    sha256: str = ""
    bad: list[str] = dataclasses.field(default_factory=list)
    odd: dict[str, tuple[int, str]] = dataclasses.field(default_factory=dict)

    def bad_images(self) -> str:
        """The first errors in one line."""
        more = f"; and {len(self.bad) - _SHOWN} more" if len(self.bad) > _SHOWN else ""
        return "; ".join(self.bad[:_SHOWN]) + more


def look_at(
    source: Any,
    split: str,
    chosen: np.ndarray,
    workers: int | None,
    progress: Callable[[str, int, int], None] | None,
) -> Looked:
    """Reads the images `chosen` of a source, several at the same time."""
    looked, digest = Looked(len(chosen)), hashlib.sha256()
    for done, (name, content, form, error) in enumerate(_looks(source, chosen, workers), start=1):
        digest.update(f"{name}\t{content}\n".encode(errors="surrogateescape"))
        if error:
            looked.bad.append(error)
        for kind in _oddities(name, form):
            count, first = looked.odd.get(kind, (0, name))
            looked.odd[kind] = (count + 1, first)
        if progress is not None:
            progress(split, done, len(chosen))
    looked.sha256 = digest.hexdigest()
    return looked


_Look = tuple[str, str, ImageForm | None, str]


def _looks(source: Any, chosen: np.ndarray, workers: int | None) -> Iterator[_Look]:
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for start in range(0, len(chosen), _CHUNK):
            yield from pool.map(lambda k: _look(source, int(k)), chosen[start : start + _CHUNK])


def _look(source: Any, index: int) -> _Look:
    """Name, content hash, form and error of one image; no form where files are not kept as such."""
    if not isinstance(source, ImageNetSource):
        try:
            return str(index), hashlib.sha256(source[index].image).hexdigest(), None, ""
        except ValueError as error:
            return str(index), "", None, str(error)
    name, content = source.store.names[index].rpartition("/")[2], ""
    try:
        data = source.encoded(index)
        content = hashlib.sha256(data).hexdigest()
        return name, content, check_image(data, source.store.place(index)), ""
    except BadImageError as error:
        return name, content, None, str(error)


def _oddities(name: str, form: ImageForm | None) -> list[str]:
    if form is None:
        return []
    is_jpeg_name = name.lower().endswith((".jpeg", ".jpg"))
    found = [f"{form.format} files named JPEG"] if is_jpeg_name and form.format != "JPEG" else []
    return [*found, "CMYK"] if form.mode == "CMYK" else found
