"""The lists that tests cross with properties: a new model is covered by joining the registry."""

import dataclasses
import re
from typing import Any

from zoo.models import list_models, variant_of

SMALL = {"num_classes": 10, "stem": "cifar", "width": 0.0625, "input_norm": "per_location"}
"""A few thousand parameters a block: enough for every structural property."""

ALL_MODELS = list_models()
_ANOTHER = re.compile(r"_(dks|tat)_(?!(?<=dks_)softplus|tanh|(?<=tat_)lrelu)")
"""Ids that differ from one with softplus, tanh or leaky ReLU by an activation alone."""
# The letters of RepVGG are sizes too.
_KINDS = {re.sub(r"[ab]?\d+", "{}", id): id for id in reversed(ALL_MODELS)}
SHALLOWEST = [id for kind, id in sorted(_KINDS.items()) if not _ANOTHER.search(kind)]
"""One member of every family and method: what is compiled in tests."""
STRUCTURES = [id for id in ALL_MODELS if id.endswith("eoc_relu")]
"""One method for every family and depth: what is the same for all methods."""


def small(id: str, **options: Any) -> dict[str, Any]:
    """Those of `SMALL` that the family of `id` has, and the id's own normalisation of images."""
    config = variant_of(id).config
    names = {field.name for field in dataclasses.fields(config)}
    chosen = SMALL | {"input_norm": config.input_norm} | options
    return {name: value for name, value in chosen.items() if name in names}
