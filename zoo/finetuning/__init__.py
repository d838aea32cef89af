"""Fine-tuning: a pretrained network, new classes, and a run directory that knows both.

Names are resolved on first use, so that the options are known without JAX.
"""

import importlib
from typing import Any

_HOME = {
    "FinetuneOptions": "options",
    "FinetuneResult": "run",
    "embed": "probe",
    "finetune": "run",
    "finetuning_config": "plan",
    "linear_probe": "probe",
}

__all__ = list(_HOME)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'zoo.finetuning' has no attribute {name!r}")
    return getattr(importlib.import_module(f"zoo.finetuning.{_HOME[name]}"), name)
