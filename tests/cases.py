"""The lists that tests cross with properties: a new family is covered by joining the registry."""

import dataclasses
import re
from typing import Any

from zoo.models import list_models, variant_of

SMALL = {"num_classes": 10, "stem": "cifar", "width": 0.0625, "input_norm": "per_location"}
"""A few thousand parameters a block: enough for every structural property."""

ALL_MODELS = list_models()
_FIRST = {re.sub(r"\d+", "{}", id): id for id in reversed(ALL_MODELS)}
SHALLOWEST = sorted(_FIRST.values(), key=ALL_MODELS.index)
"""One member of every family and method: what is compiled in tests."""
STRUCTURES = [id for id in ALL_MODELS if id.endswith("eoc_relu")]
"""One method for every family and depth: what is the same for all methods."""


def small(id: str, **options: Any) -> dict[str, Any]:
    """`SMALL` and `options`, those of them that the family of `id` has."""
    known = {field.name for field in dataclasses.fields(variant_of(id).config)}
    return {name: value for name, value in {**SMALL, **options}.items() if name in known}
