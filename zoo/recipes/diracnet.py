"""DiracNet on CIFAR-10, the authors' schedule.

Command   zoo train --recipe diracnet --workdir DIR --data.data-dir DATA
          On two cores: --epochs 10 --model.width 0.5
Source    arXiv 1706.00388 and its code: batch 128, 200 epochs, rate 0.1 times 0.2 at 60, 120 and
          160, weight decay 5e-4 on kernels; Nesterov momentum here, plain momentum there
Measured  nothing yet: no network was trained by us with this recipe
"""

from zoo.data import Augmentation, Preprocessing
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

ARCH = "diracnet34_2"


def get_config(arch: str = ARCH) -> TrainConfig:
    """200 epochs of 128, crops and flips; other networks than DiracNets take its schedule."""
    return TrainConfig(
        epochs=200,
        model=ModelConfig("diracnet18", stem="cifar").with_arch(arch),
        data=DataConfig("cifar10", batch_size=128),
        preprocessing=Preprocessing(
            (32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
        ),
        augmentation=Augmentation(crop_padding=4, flip=True),
        optimizer=OptimizerConfig(
            "sgd", learning_rate=0.1, weight_decay=5e-4,
            clip_norm=None if is_batch_norm(arch) else 1.0,
        ),
        schedule=ScheduleConfig("step", boundaries=(0.3, 0.6, 0.8), factor=0.2),
        eval=EvalConfig(every_steps=2000, batch_size=1000),
        checkpoint=CheckpointConfig(every_steps=1000, keep_best=0),
        log=LogConfig(every_steps=100),
    )  # fmt: skip
