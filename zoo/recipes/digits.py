"""Narrow networks of 18 to 200 layers on the 8 x 8 digits: the smallest published weights.

Command   zoo train --recipe digits --model.arch ARCH --workdir runs/digits
Measured  the sweep `digits` of `zoo compare`: docs/results.md, 600 steps
Hardware  two CPU cores, no accelerator
"""

import re

from zoo.data import Augmentation
from zoo.recipes.networks import depth_of, is_batch_norm
from zoo.training import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizationConfig,
    ScheduleConfig,
    TrainConfig,
)

ARCH = "vanilla_resnet50_tat_lrelu"
_SHALLOW = 50
_RATE = 0.1
# Least training loss of the trials (the sweep `digits_rates`): at 50 layers, and at 101, which the
# deeper ones take too. Edge of chaos stayed at chance with 101 layers whatever the rate.
_RATES = {
    r"vanilla_resnet\d+_tat_lrelu": (0.1, 0.03),
    r"resnet\d+": (0.3, 0.1),
    r"vanilla_resnet\d+_eoc_relu": (0.03, 0.03),
    r"vanilla_resnet\d+_dks_softplus": (0.1, 0.03),
}


def get_config(arch: str = ARCH) -> TrainConfig:
    """Digits, 1,500 steps of 64: SGD with Nesterov momentum, cosine, crops shifted by a pixel."""
    return TrainConfig(
        steps=1500,
        model=ModelConfig(ARCH, stem="cifar", width=0.125).with_arch(arch),
        data=DataConfig("digits", batch_size=64),
        augmentation=Augmentation(crop_padding=1),
        optimizer=OptimizerConfig(
            "sgd",
            learning_rate=learning_rate(arch),
            weight_decay=1e-4,
            # The first gradients with BatchNorm are of norm 20 (50 layers) to 400 (200 layers):
            # clipped to 1, it hardly trained.
            clip_norm=None if is_batch_norm(arch) else 1.0,
        ),
        schedule=ScheduleConfig("cosine", warmup_fraction=0.1),
        regularization=RegularizationConfig(label_smoothing=0.1),
        eval=EvalConfig(every_steps=500),
        checkpoint=CheckpointConfig(every_steps=500),
    )


def learning_rate(arch: str) -> float:
    """Peak of the learning rate: what the trials chose, 0.1 where there was none."""
    shallow, deep = next(
        (rates for pattern, rates in _RATES.items() if re.fullmatch(pattern, arch)), (_RATE, _RATE)
    )
    return shallow if (depth_of(arch) or 0) <= _SHALLOW else deep
