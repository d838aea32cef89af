"""RepVGG on ImageNet: SGD, 120 epochs, cosine from 0.1.

Command   zoo train --recipe repvgg --model.arch ARCH --workdir DIR --data.data-dir DATA
Measured  nothing yet
Source    arXiv 2101.03697 and its code: batch 256, weight decay 1e-4 on kernels (there on the
          identity's normalisation too), random-resized crops and flips; no warm-up
"""

import dataclasses

from zoo.recipes import in1k
from zoo.training import DataConfig, RegularizationConfig, ScheduleConfig, TrainConfig

ARCH = "repvgg_a0"


def get_config(arch: str = ARCH) -> TrainConfig:
    """Batch 256; networks without BatchNorm are clipped and not decayed, as by in1k."""
    return dataclasses.replace(
        in1k.get_config(arch),
        epochs=120,
        data=DataConfig("imagenet2012", batch_size=256, workers=16),
        schedule=ScheduleConfig("cosine"),
        regularization=RegularizationConfig(),
    )
