"""ISONet on ImageNet: plain SGD, 100 epochs, a tenth of the rate after 30, 60 and 90.

Command   zoo train --recipe isonet --model.arch ARCH --workdir DIR --data.data-dir DATA
Measured  nothing yet
Source    the released configuration of arXiv 2006.16992 for 50 layers (its momentum is not
          Nesterov's): ISONet-50 70.73 % top-1, 71.20 % with dropout, by its authors
"""

import dataclasses

from zoo.recipes import in1k
from zoo.training import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizationConfig,
    ScheduleConfig,
    TrainConfig,
)

ARCH = "isonet50"
_EPOCHS = 100


def get_config(arch: str = ARCH) -> TrainConfig:
    """Batch 96, rate 0.0075, weight decay 1e-4, dropout 0.1; R-ISONets were given other rates."""
    return dataclasses.replace(
        in1k.get_config(arch),
        epochs=_EPOCHS,
        model=ModelConfig(ARCH, dropout_rate=0.1).with_arch(arch),
        data=DataConfig("imagenet2012", batch_size=96, workers=16),
        optimizer=OptimizerConfig("sgd", learning_rate=0.0075, weight_decay=1e-4),
        schedule=ScheduleConfig(
            "step", warmup_fraction=5 / _EPOCHS, boundaries=(0.3, 0.6, 0.9), factor=0.1
        ),
        regularization=RegularizationConfig(),
    )
