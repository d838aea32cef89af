"""Data: sources by name, evaluation preprocessing, augmentation and batches.

Importing it imports neither JAX nor Grain: worker processes load it too.
"""

import importlib
from typing import Any

from zoo.data.augmentation import Augmentation
from zoo.data.decode import BadImageError, decode_image
from zoo.data.pipeline import TrainPipeline, eval_batches
from zoo.data.preprocessing import Preprocessing
from zoo.data.sources import Record, Source, limit, open_source, subset

_ON_DEVICE = ("cutmix", "mixup", "random_erasing")

__all__ = [
    "Augmentation",
    "BadImageError",
    "Preprocessing",
    "Record",
    "Source",
    "TrainPipeline",
    "cutmix",
    "decode_image",
    "eval_batches",
    "limit",
    "mixup",
    "open_source",
    "random_erasing",
    "subset",
]


def __getattr__(name: str) -> Any:
    if name in _ON_DEVICE:
        return getattr(importlib.import_module("zoo.data.device_augmentation"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
