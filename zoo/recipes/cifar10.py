"""CIFAR-10: a quarter of the full width, at most 9 MB in bfloat16 at 200 layers.

Command   zoo train --recipe cifar10 --model.arch ARCH --workdir DIR --data.data-dir DATA
Measured  nothing yet: the learning rates are those of short trials
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
    RegularizationConfig,
    ScheduleConfig,
    TrainConfig,
)

ARCH = "vanilla_resnet50_tat_lrelu"
WIDTH = 0.25
OPTIMIZERS = ("sgd", "muon")


def get_config(arch: str = ARCH, optimizer: str = "sgd") -> TrainConfig:
    """100 epochs of batch 256, bfloat16 computation, the training set on the device.

    Args:
      arch: id of the network.
      optimizer: one of `OPTIMIZERS`, with the learning rate that suits it.
    """
    return TrainConfig(
        epochs=100,
        model=ModelConfig(ARCH, stem="cifar", width=WIDTH, dtype="bfloat16").with_arch(arch),
        data=DataConfig("cifar10", batch_size=256, resident=True),
        preprocessing=Preprocessing(
            (32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
        ),
        augmentation=Augmentation(crop_padding=4, flip=True),
        optimizer=_optimizer(optimizer, clip_norm=None if is_batch_norm(arch) else 1.0),
        schedule=ScheduleConfig("cosine", warmup_fraction=0.1),
        regularization=RegularizationConfig(label_smoothing=0.1),
        eval=EvalConfig(every_steps=2000, batch_size=1000),
        checkpoint=CheckpointConfig(every_steps=1000, keep_best=0),
        log=LogConfig(every_steps=100),
    )


def _optimizer(name: str, clip_norm: float | None) -> OptimizerConfig:
    if name == "muon":  # orthogonalised updates: the gradient's norm counts for nothing
        return OptimizerConfig("muon", learning_rate=0.005, momentum=0.95, weight_decay=0.1)
    return OptimizerConfig("sgd", learning_rate=0.05, weight_decay=5e-4, clip_norm=clip_norm)
