"""Evaluation batches: every example of a split exactly once, in batches of one shape."""

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from zoo.data.decode import UNNAMED, BadImageError, decode_image
from zoo.data.preprocessing import Preprocessing
from zoo.data.records import Record, Source, encoded_record, file_of, origin_of

Batch = dict[str, np.ndarray]


def eval_batches(
    source: Source,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 0,
) -> Iterator[Batch]:
    """Every example of a split exactly once over all processes, in batches of one shape.

    Every process gets ceil(n / batch_size) batches. The last one is filled up with black images of
    label 0 and index -1 where `mask` is False.

    Args:
      batch_size: examples per batch over all processes.
      threads: how many decode at the same time; 0 decodes one after the other.

    Returns:
      Iterator of image [batch_size / process_count, height, width, channels] uint8, label int32,
      mask bool, index int64.

    Raises:
      ValueError: if the source is empty or a size does not divide.
      BadImageError: while iterating, at the first image that cannot be read: none is left out.
    """
    check_split(source, batch_size, process_index, process_count)
    if threads < 0:
        raise ValueError(f"threads is {threads}, allowed is 0 or more")
    local = batch_size // process_count
    firsts = range(process_index * local, _round_up(len(source), batch_size), batch_size)
    return _eval_batches(source, preprocessing, firsts, local, threads)


def _eval_batches(
    source: Source, preprocessing: Preprocessing, firsts: range, local: int, threads: int
) -> Iterator[Batch]:
    shape = (local, *preprocessing.image_size, preprocessing.channels)
    stored = stored_frames(source, preprocessing)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for first in firsts:
            real = range(first, min(first + local, len(source)))
            batch = {
                "image": np.zeros(shape, np.uint8),
                "label": np.zeros(local, np.int32),
                "mask": np.arange(local) < len(real),
                "index": np.full(local, -1, np.int64),
            }
            batch["index"][: len(real)] = real
            if stored is not None:
                chosen = slice(real.start, real.stop)
                batch["image"][: len(real)] = stored[0][chosen]
                batch["label"][: len(real)] = stored[1][chosen]
            else:
                load = functools.partial(_framed, source, preprocessing)
                records = (pool.map if threads else map)(load, real)
                for place, record in enumerate(records):
                    batch["image"][place], batch["label"][place] = record
            yield batch


def read_example(source: Source, index: int, preprocessing: Preprocessing) -> Record:
    """`source[index]`, its file turned or not where `preprocessing.orientation` says so.

    Raises:
      BadImageError: if the image cannot be read.
    """
    file = None if preprocessing.orientation is None else encoded_record(source, index)
    if file is None:
        return source[index]
    return Record(decode_image(file[0], upright=is_upright(source, preprocessing)), file[1])


def is_upright(source: Source, preprocessing: Preprocessing) -> bool:
    """Whether files of this source are turned as their EXIF says."""
    if preprocessing.orientation is not None:
        return preprocessing.orientation == "exif"
    return getattr(origin_of(source), "own", False)


def _framed(source: Source, preprocessing: Preprocessing, index: int) -> Record:
    try:
        image, label = read_example(source, index, preprocessing)
        return Record(preprocessing.transform(image), label)
    except BadImageError as error:
        raise named_bad_image(source, index, error) from error


def stored_frames(
    source: Source, preprocessing: Preprocessing
) -> tuple[np.ndarray, np.ndarray] | None:
    """`source.arrays` where its pixels already are what `preprocessing` gives, else None."""
    arrays = getattr(source, "arrays", None)
    if arrays is None or not preprocessing.keeps(arrays[0].shape[1:]):
        return None
    return arrays


def named_bad_image(source: Source, index: int, error: BadImageError) -> BadImageError:
    """The same error, saying which example it is and, where there is one, its file."""
    path, text = file_of(source, index), str(error).replace(f"{UNNAMED}: ", "")
    file = "" if path is None or str(path) in text else f"{path}: "
    return BadImageError(f"{source.name} example {index}: {file}{text}")


def check_split(source: Source, batch_size: int, process_index: int, process_count: int) -> None:
    """Refuse an empty source and a batch that does not divide among the processes."""
    if len(source) == 0:
        raise ValueError(f"{source.name} {source.split} has no examples")
    if batch_size < 1 or process_count < 1 or batch_size % process_count:
        raise ValueError(
            f"batch_size {batch_size} does not divide among {process_count} processes; "
            "choose a positive multiple of their number"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index is {process_index}, allowed is 0..{process_count - 1}")


def _round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple
