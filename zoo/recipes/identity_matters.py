""" "Identity Matters" on CIFAR-10: 55 convolutions, 128 epochs, a random fixed classifier.

Command   zoo train --recipe identity_matters --model.arch ARCH --workdir DIR --data.data-dir DATA
Measured  nothing yet
Source    arXiv 1611.04231: batch 128, momentum 0.9, rate 0.05 and a tenth of it after 30,000 and
          50,000 steps
"""

import dataclasses

from zoo.recipes import cifar10
from zoo.training import (
    DataConfig,
    OptimizerConfig,
    RegularizationConfig,
    ScheduleConfig,
    TrainConfig,
)

ARCH = "identity_matters55"
_STEPS = 50_000


def get_config(arch: str = ARCH) -> TrainConfig:
    """50,000 steps; crops shifted by 4 pixels, flips."""
    return dataclasses.replace(
        cifar10.get_config(arch),
        epochs=None,
        steps=_STEPS,
        data=DataConfig("cifar10", batch_size=128, resident=True),
        optimizer=OptimizerConfig("sgd", learning_rate=0.05, weight_decay=1e-4),
        schedule=ScheduleConfig("step", boundaries=(0.6,), factor=0.1),
        regularization=RegularizationConfig(),
    )
