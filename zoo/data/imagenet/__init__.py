"""ImageNet ILSVRC-2012 as users have it: found in any form, checked, and packed for speed."""

from zoo.data.imagenet.checking import DataCheck, check_imagenet
from zoo.data.imagenet.packing import Prepared, prepare_imagenet
from zoo.data.imagenet.source import ImageNetSource, open_imagenet

__all__ = [
    "DataCheck",
    "ImageNetSource",
    "Prepared",
    "check_imagenet",
    "open_imagenet",
    "prepare_imagenet",
]
