"""The lists that tests cross with properties: a new model is covered by joining the registry."""

from zoo.models import list_models

SMALL = {"num_classes": 10, "stem": "cifar", "width": 0.0625, "input_norm": "per_location"}
"""A few thousand parameters a block: enough for every structural property."""

ALL_MODELS = list_models()
SHALLOWEST = [id for id in ALL_MODELS if "resnet18" in id or "rescaled_resnet50" in id]
"""One member of every family and method: what is compiled in tests."""
STRUCTURES = [id for id in ALL_MODELS if id.endswith("eoc_relu")]
"""One method for every family and depth: what is the same for all methods."""
