"""Vanilla Zoo: deep networks without shortcuts or normalisation, in Flax NNX.

Names are resolved on first use, so that `import zoo` is cheap and starts no JAX backend. All that
it does is to set what JAX reads when it starts (`zoo.cpu`).
"""

import importlib
from typing import Any

from zoo.cpu import prepare

prepare()
__version__ = "0.1.0"

_HOME = {
    "Classifier": "zoo.classifier",
    "DKS": "zoo.shaping",
    "EOC": "zoo.shaping",
    "KernelGraph": "zoo.shaping",
    "NotShapableError": "zoo.shaping",
    "ShapedActivation": "zoo.shaping",
    "TAT": "zoo.shaping",
    "create_model": "zoo.models",
    "evaluate": "zoo.evaluation",
    "finetune": "zoo.finetuning",
    "inspect": "zoo.inspection",
    "kernel_graph": "zoo.shaping",
    "list_models": "zoo.models",
    "list_pretrained": "zoo.pretrained",
    "load_pretrained": "zoo.pretrained",
    "open_source": "zoo.data",
    "predict": "zoo.evaluation",
    "register_family": "zoo.models",
    "register_source": "zoo.data",
    "shape": "zoo.models",
    "to_plain": "zoo.plain",
    "train": "zoo.training",
}

__all__ = ["__version__", *_HOME]  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}; it has {', '.join(_HOME)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
