"""Data: sources by name, evaluation preprocessing, augmentation and batches.

Importing it imports neither JAX nor Grain, for worker processes load it too; names are resolved on
first use, so that the names of data sets cost no NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.data.augmentation import Augmentation
    from zoo.data.decode import BadImageError, decode_image
    from zoo.data.device_augmentation import cutmix, mixup, random_erasing
    from zoo.data.pipeline import TrainPipeline, eval_batches
    from zoo.data.preprocessing import Preprocessing
    from zoo.data.sources import Record, Source, limit, open_source, register_source, subset

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
    "register_source",
    "subset",
]
_HOME = {
    "augmentation": ("Augmentation",),
    "decode": ("BadImageError", "decode_image"),
    "device_augmentation": ("cutmix", "mixup", "random_erasing"),
    "pipeline": ("TrainPipeline", "eval_batches"),
    "preprocessing": ("Preprocessing",),
    "sources": ("Record", "Source", "limit", "open_source", "register_source", "subset"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(f"zoo.data.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
