"""Networks: layers, families, and the registry that builds them by id.

Every module of this folder is imported: a family is a file here, decorated by `register_family`.
"""

import importlib
import pkgutil

from zoo.models.family import (
    Activations,
    FeatureInfo,
    Network,
    NetworkConfig,
    Shaping,
    Variant,
)
from zoo.models.layers import per_location_normalization, scaled_uniform_orthogonal, suo_delta
from zoo.models.layout import (
    Layer,
    Layout,
    NotAChainError,
    Part,
    Sum,
    all_layers,
    distance_to_head,
    layers_of,
    parameters_of,
    part_index,
    rate_of,
)
from zoo.models.parameters import (
    Fixed,
    Params,
    fixed_of,
    merge,
    split,
    statistics_of,
    train_statistics,
)
from zoo.models.registry import (
    UnknownModelError,
    changed_options,
    create_model,
    family_of,
    graph_of,
    list_models,
    rebuilt,
    register_family,
    variant_of,
)
from zoo.models.shape import shape
from zoo.models.solved import Solved

__all__ = [
    "Activations",
    "FeatureInfo",
    "Fixed",
    "Layer",
    "Layout",
    "Network",
    "NetworkConfig",
    "NotAChainError",
    "Params",
    "Part",
    "Shaping",
    "Solved",
    "Sum",
    "UnknownModelError",
    "Variant",
    "all_layers",
    "changed_options",
    "create_model",
    "distance_to_head",
    "family_of",
    "fixed_of",
    "graph_of",
    "layers_of",
    "list_models",
    "merge",
    "parameters_of",
    "part_index",
    "per_location_normalization",
    "rate_of",
    "rebuilt",
    "register_family",
    "scaled_uniform_orthogonal",
    "shape",
    "split",
    "statistics_of",
    "suo_delta",
    "train_statistics",
    "variant_of",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
