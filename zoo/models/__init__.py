"""Networks: layers, families, and the registry that builds them by id."""

from zoo.models.chain import Layer, NotAChainError, chain_of
from zoo.models.layers import per_location_normalization, scaled_uniform_orthogonal, suo_delta
from zoo.models.network import FeatureInfo, Network
from zoo.models.parameters import Params, merge, split, statistics_of, train_statistics
from zoo.models.registry import (
    Entry,
    UnknownModelError,
    create_model,
    graph_of,
    list_models,
    overrides_of,
    register_model,
)
from zoo.models.resnet import ResNet
from zoo.models.resnet_config import ResNetConfig
from zoo.models.shape import shape

__all__ = [
    "Entry",
    "FeatureInfo",
    "Layer",
    "Network",
    "NotAChainError",
    "Params",
    "ResNet",
    "ResNetConfig",
    "UnknownModelError",
    "chain_of",
    "create_model",
    "graph_of",
    "list_models",
    "merge",
    "overrides_of",
    "per_location_normalization",
    "register_model",
    "scaled_uniform_orthogonal",
    "shape",
    "split",
    "statistics_of",
    "suo_delta",
    "train_statistics",
]
