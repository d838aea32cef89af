"""The smallest run there is: 18 layers of 4 to 32 channels on 8 x 8 digits."""

import dataclasses
import hashlib
from typing import Any

import jax
import numpy as np

from zoo.models import Solved
from zoo.shaping import TAT
from zoo.training import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

NONLINEAR_LAYERS = 17
METHOD = TAT("leaky_relu", eta=0.9)
SOLVED = Solved((METHOD.solve(NONLINEAR_LAYERS),), (METHOD,))
BASE = TrainConfig(
    steps=12,
    model=ModelConfig("vanilla_resnet18_tat_lrelu", stem="cifar", width=0.0625),
    data=DataConfig("digits", batch_size=16),
    optimizer=OptimizerConfig("sgd", learning_rate=0.05, clip_norm=1.0),
    schedule=ScheduleConfig("cosine", warmup_steps=2),
    eval=EvalConfig(limit=64, batch_size=64),
    checkpoint=CheckpointConfig(every_steps=4),
    log=LogConfig(every_steps=1),
)


def tiny(**changes: Any) -> TrainConfig:
    """`BASE` with some fields changed."""
    return dataclasses.replace(BASE, **changes)


def optimizer(**changes: Any) -> OptimizerConfig:
    """The optimiser of `BASE` with some fields changed."""
    return dataclasses.replace(BASE.optimizer, **changes)


def digest(state: Any) -> str:
    """Hash over every bit of a pytree of arrays."""
    hasher = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(state):
        hasher.update(jax.tree_util.keystr(path).encode())
        hasher.update(np.asarray(leaf).tobytes())
    return hasher.hexdigest()
