"""Fixup on CIFAR-10: 200 epochs of SGD with mixup, a tenth of the rate after half and 3/4.

Command   zoo train --recipe fixup --model.arch ARCH --workdir DIR --data.data-dir DATA
Measured  nothing yet
Source    the released scripts of arXiv 1901.09321, for another trunk; scalars learn at a tenth of
          the rate, as the family asks
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

ARCH = "fixup_resnet50"


def get_config(arch: str = ARCH) -> TrainConfig:
    """Batch 128, rate 0.1, weight decay 1e-4 on kernels, mixup with alpha 1."""
    return dataclasses.replace(
        cifar10.get_config(arch),
        epochs=200,
        data=DataConfig("cifar10", batch_size=128, resident=True),
        optimizer=OptimizerConfig("sgd", learning_rate=0.1, weight_decay=1e-4),
        schedule=ScheduleConfig("step", boundaries=(0.5, 0.75), factor=0.1),
        regularization=RegularizationConfig(mixup=1.0, mixup_alpha=1.0),
    )
