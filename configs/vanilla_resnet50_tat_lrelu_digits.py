"""A narrow 50-layer plain network on the 8 x 8 digits: the smallest published weight.

Command   zoo train configs/vanilla_resnet50_tat_lrelu_digits.py --workdir runs/digits
Baselines the same command with --model.arch vanilla_resnet50_eoc_relu or vanilla_resnet50_he_relu
Hardware  two CPU cores, no accelerator
"""

from zoo.data import Augmentation
from zoo.training.config import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizationConfig,
    ScheduleConfig,
    TrainConfig,
)


def get_config() -> TrainConfig:
    """Digits, 1,500 steps of 64: SGD with Nesterov momentum, cosine, crops shifted by a pixel."""
    return TrainConfig(
        steps=1500,
        model=ModelConfig("vanilla_resnet50_tat_lrelu", stem="cifar", width=0.125),
        data=DataConfig("digits", batch_size=64),
        augmentation=Augmentation(crop_padding=1),
        optimizer=OptimizerConfig("sgd", learning_rate=0.1, weight_decay=1e-4, clip_norm=1.0),
        schedule=ScheduleConfig("cosine", warmup_fraction=0.1),
        regularization=RegularizationConfig(label_smoothing=0.1),
        eval=EvalConfig(every_steps=500),
        checkpoint=CheckpointConfig(every_steps=500),
    )
