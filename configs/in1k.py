"""What all ImageNet recipes share: the settings of the papers with SGD in place of K-FAC.

Source    arXiv 2203.08120 and its released recipe: batch 1024, 90 epochs, cosine after 5 epochs of
          warm-up, label smoothing 0.1; SGD with Nesterov momentum, peak 0.1
K-FAC     as in the papers, for networks without BatchNorm: zoo train RECIPE --workdir DIR
          --optimizer.name kfac --optimizer.learning-rate 3e-4 --optimizer.clip-norm None
          --optimizer.kfac.curvature-decay 0.99 --optimizer.kfac.inverse-period 50
Measured  nothing yet: no network of these recipes was trained by us
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

_EPOCHS, _WARMUP_EPOCHS = 90, 5


def get_config() -> TrainConfig:
    """Batch 1024 over all devices, bfloat16 computation, random-resized crops and flips."""
    return TrainConfig(
        epochs=_EPOCHS,
        model=ModelConfig("vanilla_resnet50_tat_lrelu", num_classes=1000, dtype="bfloat16"),
        data=DataConfig("imagenet2012", batch_size=1024, workers=16),
        preprocessing=Preprocessing((224, 224), crop_pct=0.875),
        augmentation=Augmentation(random_resized_crop=(0.08, 1.0), flip=True),
        optimizer=OptimizerConfig("sgd", learning_rate=0.1, clip_norm=1.0),
        schedule=ScheduleConfig("cosine", warmup_fraction=_WARMUP_EPOCHS / _EPOCHS),
        regularization=RegularizationConfig(label_smoothing=0.1),
        eval=EvalConfig(every_steps=5000, split="val", batch_size=1024),
        checkpoint=CheckpointConfig(every_steps=1000),
        log=LogConfig(every_steps=100),
    )
