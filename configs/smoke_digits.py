"""Twenty steps of a tiny plain network on the handwritten digits, to see that training works.

Command: zoo train configs/smoke_digits.py --workdir runs/smoke_digits
"""

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


def get_config() -> TrainConfig:
    """18 layers of 4 to 32 channels, batch 64, cosine schedule."""
    return TrainConfig(
        steps=20,
        model=ModelConfig("vanilla_resnet18_tat_lrelu", stem="cifar", width=0.0625),
        data=DataConfig("digits", batch_size=64),
        optimizer=OptimizerConfig("sgd", learning_rate=0.1, clip_norm=1.0),
        schedule=ScheduleConfig("cosine", warmup_steps=4),
        eval=EvalConfig(every_steps=10),
        checkpoint=CheckpointConfig(every_steps=5),
        log=LogConfig(every_steps=5),
    )
