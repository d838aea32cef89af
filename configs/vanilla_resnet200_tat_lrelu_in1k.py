"""ImageNet: a plain chain of 200 layers, leaky ReLU shaped by TAT.

Command   zoo train configs/vanilla_resnet200_tat_lrelu_in1k.py --workdir DIR, on every host
Costs     zoo plan configs/vanilla_resnet200_tat_lrelu_in1k.py --topology v5e:4x4
Hardware  made for TPU v5e:4x4 or eight GPUs; 90 epochs are 115 million images
Measured  nothing: not yet trained by us
"""

import dataclasses
from pathlib import Path

from zoo.training import TrainConfig, load_config


def get_config() -> TrainConfig:
    """`in1k.py` with this network."""
    recipe = load_config(Path(__file__).with_name("in1k.py"))
    model = recipe.model.with_arch("vanilla_resnet200_tat_lrelu")
    return dataclasses.replace(recipe, model=model)
