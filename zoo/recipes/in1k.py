"""ImageNet: the settings of the papers, with SGD in place of their K-FAC.

Command   zoo train --recipe in1k --model.arch ARCH --workdir DIR --data.data-dir DATA, on every
          host; ARCH: vanilla_resnet50_tat_lrelu to vanilla_resnet200_tat_lrelu,
          vanilla_resnet50_dks_softplus to vanilla_resnet200_dks_softplus,
          rescaled_resnet50_dks_softplus; resnet50 and resnet101 are the baseline
Costs     zoo plan --recipe in1k --model.arch ARCH --topology v5e:4x4
Source    arXiv 2203.08120 and its released recipe: batch 1024, 90 epochs, cosine after 5 epochs of
          warm-up, label smoothing 0.1; SGD with Nesterov momentum, peak 0.1
K-FAC     as in the papers, for networks without BatchNorm: zoo train --recipe in1k --workdir DIR
          --optimizer.name kfac --optimizer.learning-rate 3e-4 --optimizer.clip-norm None
          --optimizer.kfac.curvature-decay 0.99 --optimizer.kfac.inverse-period 50
Hardware  made for TPU v5e:4x4 or eight GPUs; 90 epochs are 115 million images
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
    RegularizationConfig,
    ScheduleConfig,
    TrainConfig,
)

ARCH = "vanilla_resnet50_tat_lrelu"
_EPOCHS, _WARMUP_EPOCHS = 90, 5


def get_config(arch: str = ARCH) -> TrainConfig:
    """Batch 1024 over all devices, bfloat16 computation, random-resized crops and flips."""
    return TrainConfig(
        epochs=_EPOCHS,
        model=ModelConfig(ARCH, num_classes=1000, dtype="bfloat16").with_arch(arch),
        data=DataConfig("imagenet2012", batch_size=1024, workers=16),
        preprocessing=Preprocessing((224, 224), crop_pct=0.875),
        augmentation=Augmentation(random_resized_crop=(0.08, 1.0), flip=True),
        optimizer=_optimizer(arch),
        schedule=ScheduleConfig("cosine", warmup_fraction=_WARMUP_EPOCHS / _EPOCHS),
        regularization=RegularizationConfig(label_smoothing=0.1),
        eval=EvalConfig(every_steps=5000, split="val", batch_size=1024),
        checkpoint=CheckpointConfig(every_steps=1000),
        log=LogConfig(every_steps=100),
    )


def _optimizer(arch: str) -> OptimizerConfig:
    if is_batch_norm(arch):  # its usual weight decay, and no clipping
        return OptimizerConfig("sgd", learning_rate=0.1, weight_decay=1e-4, clip_norm=None)
    return OptimizerConfig("sgd", learning_rate=0.1, clip_norm=1.0)
