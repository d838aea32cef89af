"""SkipInit and NF-ResNet on CIFAR-10: 100 epochs of SGD.

Command   zoo train --recipe normalizer_free --model.arch ARCH --workdir DIR --data.data-dir DATA
Measured  nothing yet
Source    rate and decay of a ResNet with BatchNorm; the papers' own are for ImageNet
"""

import dataclasses

from zoo.recipes import cifar10
from zoo.training import OptimizerConfig, TrainConfig

ARCH = "nf_resnet50"


def get_config(arch: str = ARCH) -> TrainConfig:
    """Batch 256, rate 0.1, weight decay 1e-4 on kernels, no clipping."""
    return dataclasses.replace(
        cifar10.get_config(arch),
        optimizer=OptimizerConfig("sgd", learning_rate=0.1, weight_decay=1e-4),
    )
