"""A training split that lies on the device: batches are cut, cropped and flipped inside the step.

The host only says which examples a step takes; the batches are those of `TrainPipeline`, bit for
bit. Owns no order and no randomness: both are the pipeline's.
"""

import itertools
import math
import os
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from zoo.data.augmentation import Augmentation, random_crop_flip
from zoo.data.eval_pipeline import eval_batches
from zoo.data.pipeline import TrainPipeline
from zoo.data.preprocessing import Preprocessing
from zoo.data.records import ArraySource, Source, origin_of

Arrays = dict[str, Any]

IN_MEMORY_BYTES = 2**28
"""Images of more than this are decoded again whenever they are needed."""

_BATCH_SIZE = 1000
_THREADS = min(16, os.cpu_count() or 1)


def resident_mistakes(augmentation: Augmentation, bad_examples: str) -> list[str]:
    """Why a policy cannot run on the device, one sentence each; empty if it can."""
    others = {
        "random_resized_crop": augmentation.random_resized_crop,
        "color_jitter": augmentation.color_jitter,
        "rand_augment": augmentation.rand_augment,
    }
    found = [
        f"data.resident with augmentation.{name}={value!r}: on the device there are crop_padding "
        "and flip only; set data.resident=False or leave it out"
        for name, value in others.items()
        if value
    ]
    if bad_examples != "error":
        found.append(f"data.resident with data.bad_examples={bad_examples!r}; allowed: error")
    return found


def resident_arrays(pipeline: TrainPipeline) -> Arrays:
    """All training images at the size of the network, and their labels.

    Returns:
      image: [n, height, width, channels] uint8; label: [n] int32.

    Raises:
      BadImageError: at the first image that cannot be read.
    """
    return _frames(pipeline.source, pipeline.preprocessing)


def in_memory(source: Source, preprocessing: Preprocessing) -> Source:
    """The same examples, decoded once and brought to the size of the network where they fit.

    What `eval_batches` makes of them is the same. Only a user's own pictures are kept so: other
    data sets lie in memory already, or do not fit.

    Raises:
      BadImageError: at the first image that cannot be read.
    """
    shape = (*preprocessing.image_size, preprocessing.channels)
    large = len(source) * math.prod(shape) > IN_MEMORY_BYTES
    if large or not preprocessing.keeps(shape) or not getattr(origin_of(source), "own", False):
        return source
    frames = _frames(source, preprocessing)
    return ArraySource(source.name, source.split, source.classes, frames["image"], frames["label"])


def _frames(source: Source, preprocessing: Preprocessing) -> Arrays:
    size = min(_BATCH_SIZE, len(source))
    batches = list(eval_batches(source, preprocessing, batch_size=size, threads=_THREADS))
    return {
        name: np.concatenate([b[name][b["mask"]] for b in batches]) for name in ("image", "label")
    }


def resident_orders(pipeline: TrainPipeline, start_step: int = 0) -> Iterator[Arrays]:
    """What each step takes: index and epoch, int32 [batch_size / process_count] each."""
    for step in itertools.count(start_step):
        index, epoch = pipeline.order(step)
        yield {"index": index.astype(np.int32), "epoch": epoch.astype(np.int32)}


def resident_batch(arrays: Arrays, order: Arrays, seed: int, augmentation: Augmentation) -> Arrays:
    """The batch of one step, made for `jax.jit`.

    Args:
      arrays: from `resident_arrays`.
      order: one of `resident_orders`.
      seed: of the pipeline.
      augmentation: of the pipeline; padded crop and flip only.

    Returns:
      image: [batch, height, width, channels] uint8; label: [batch] int32.
    """
    images = arrays["image"][order["index"]]
    if augmentation.crop_padding or augmentation.flip:
        images = random_crop_flip(
            jnp, images, seed, order["epoch"], order["index"],
            padding=augmentation.crop_padding, flip=augmentation.flip,
        )  # fmt: skip
    return {"image": images, "label": arrays["label"][order["index"]]}
