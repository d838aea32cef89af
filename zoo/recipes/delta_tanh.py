"""Delta-orthogonal tanh on digits: the authors' demonstration, on smaller images.

Command   zoo train --recipe delta_tanh --model.arch ARCH --workdir DIR
Measured  nothing yet
Source    arXiv 1806.05393: 1,000 steps of 100 images, rate 0.01, momentum 0.95
"""

import dataclasses

from zoo.recipes import digits
from zoo.training import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizationConfig,
    ScheduleConfig,
    TrainConfig,
)

ARCH = "delta_tanh100"


def get_config(arch: str = ARCH) -> TrainConfig:
    """SGD with a constant rate."""
    return dataclasses.replace(
        digits.get_config(arch),
        steps=1000,
        model=ModelConfig(ARCH).with_arch(arch),
        data=DataConfig("digits", batch_size=100),
        optimizer=OptimizerConfig("sgd", learning_rate=0.01, momentum=0.95),
        schedule=ScheduleConfig("constant"),
        regularization=RegularizationConfig(),
    )
