"""VAN on digits: shortcuts are phased out over the first fifth of the run.

Command   zoo train --recipe van --model.arch ARCH --workdir DIR
Measured  nothing yet
Source    ours; a release that is too fast breaks training
"""

import dataclasses

from zoo.recipes import digits
from zoo.training import ModelConfig, OptimizerConfig, TrainConfig

ARCH = "van34"


def get_config(arch: str = ARCH) -> TrainConfig:
    """1,500 steps, of which 300 release the shortcuts; `freeze` the result."""
    return dataclasses.replace(
        digits.get_config(arch),
        model=ModelConfig(ARCH, stem="cifar", width=0.125, release_steps=300).with_arch(arch),
        optimizer=OptimizerConfig("sgd", learning_rate=0.03, weight_decay=1e-4),
    )
