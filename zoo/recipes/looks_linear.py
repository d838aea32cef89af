"""Looks-linear CReLU networks on CIFAR-10: 100 epochs of SGD.

Command   zoo train --recipe looks_linear --model.arch ARCH --workdir DIR --data.data-dir DATA
Measured  nothing yet
Source    arXiv 1702.08591 for the network; rate and schedule are those of the shaped networks
"""

import dataclasses

from zoo.recipes import cifar10
from zoo.training import ModelConfig, TrainConfig

ARCH = "looks_linear50"


def get_config(arch: str = ARCH) -> TrainConfig:
    """As the recipe cifar10, gradients clipped to norm 1."""
    return dataclasses.replace(
        cifar10.get_config(arch),
        model=ModelConfig(ARCH, stem="cifar", width=cifar10.WIDTH, dtype="bfloat16").with_arch(
            arch
        ),
    )
