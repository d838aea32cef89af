"""Twenty steps of a tiny plain network on the handwritten digits, to see that training works.

Command: zoo train --recipe smoke --workdir runs/smoke
"""

from zoo.recipes.networks import is_batch_norm
from zoo.training import (
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    LogConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainConfig,
)

ARCH = "vanilla_resnet18_tat_lrelu"


def get_config(arch: str = ARCH) -> TrainConfig:
    """18 layers of 4 to 32 channels, batch 64, cosine schedule."""
    return TrainConfig(
        steps=20,
        model=ModelConfig(ARCH, stem="cifar", width=0.0625).with_arch(arch),
        data=DataConfig("digits", batch_size=64),
        optimizer=OptimizerConfig(
            "sgd", learning_rate=0.1, clip_norm=None if is_batch_norm(arch) else 1.0
        ),
        schedule=ScheduleConfig("cosine", warmup_steps=4),
        eval=EvalConfig(every_steps=10),
        checkpoint=CheckpointConfig(every_steps=5),
        log=LogConfig(every_steps=5),
    )
