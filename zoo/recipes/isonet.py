"""ISONet on ImageNet: SGD for 100 epochs, a tenth of the rate after 30, 60 and 90.

Command   zoo train --recipe isonet --model.arch ARCH --workdir DIR --data.data-dir DATA
Measured  nothing yet
Source    the released configurations of arXiv 2006.16992, whose rates are in proportion to the
          batch; their momentum is not Nesterov's
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
    """Batch 256, weight decay 1e-4; with shortcuts five times the rate, four times the dropout."""
    rate, dropout = (0.1, 0.4) if arch.startswith("r_") else (0.02, 0.1)
    return dataclasses.replace(
        in1k.get_config(arch),
        epochs=_EPOCHS,
        model=ModelConfig(ARCH, dropout_rate=dropout).with_arch(arch),
        data=DataConfig("imagenet2012", batch_size=256, workers=16),
        optimizer=OptimizerConfig("sgd", learning_rate=rate, weight_decay=1e-4),
        schedule=ScheduleConfig(
            "step", warmup_fraction=5 / _EPOCHS, boundaries=(0.3, 0.6, 0.9), factor=0.1
        ),
        regularization=RegularizationConfig(),
    )
