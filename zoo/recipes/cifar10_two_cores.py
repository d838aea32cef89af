"""CIFAR-10 on a processor: a quarter of the full width, 48 epochs.

Command   zoo train --recipe cifar10_two_cores --workdir runs/cifar10
Needs     the extra `cpu`: 16 bits on two cores are computed by oneDNN
Measured  top-1 90.13 % (n = 10,000 test images, one seed) in 86 minutes on one of two shared cores,
          jax 0.10.2, oneDNN 3.2.0; `--epochs 20`: 87.72 % in 66 minutes, by kernels less fused
"""

from zoo.data import Augmentation, Preprocessing
from zoo.training import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    RegularizationConfig,
    ScheduleConfig,
    TrainConfig,
)

ARCH = "vanilla_resnet50_tat_lrelu"


def get_config(arch: str = ARCH) -> TrainConfig:
    """48 epochs of 128: Muon, clipped at 1, cosine; averaged weights, crops, flips, smoothing."""
    return TrainConfig(
        epochs=48,
        model=ModelConfig(ARCH, stem="cifar", width=0.25, dtype="bfloat16").with_arch(arch),
        data=DataConfig("cifar10", batch_size=128),
        preprocessing=Preprocessing(
            (32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
        ),
        augmentation=Augmentation(crop_padding=4, flip=True),
        optimizer=OptimizerConfig(
            "muon", learning_rate=0.002, momentum=0.95, weight_decay=0.1, clip_norm=1.0
        ),
        schedule=ScheduleConfig("cosine", warmup_fraction=0.05),
        regularization=RegularizationConfig(label_smoothing=0.1),
        ema_decay=0.999,
        eval=EvalConfig(batch_size=250),
        checkpoint=CheckpointConfig(every_steps=500, keep_best=0),
        log=LogConfig(every_steps=100),
    )
