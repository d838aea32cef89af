"""ImageNet: the baseline, ResNet-V2 of 101 layers with BatchNorm and shortcuts.

Command   zoo train configs/resnet101_in1k.py --workdir DIR, on every host
Costs     zoo plan configs/resnet101_in1k.py --topology v5e:4x4
Hardware  made for TPU v5e:4x4 or eight GPUs; 90 epochs are 115 million images
Measured  nothing: not yet trained by us
"""

import dataclasses
from pathlib import Path

from zoo.training import TrainConfig, load_config


def get_config() -> TrainConfig:
    """`in1k.py` with this network, its usual weight decay, and no clipping."""
    recipe = load_config(Path(__file__).with_name("in1k.py"))
    model = recipe.model.with_arch("resnet101")
    optimizer = dataclasses.replace(recipe.optimizer, weight_decay=1e-4, clip_norm=None)
    return dataclasses.replace(recipe, model=model, optimizer=optimizer)
