"""ImageNet: copy this file and change what you like; `zoo.recipes.in1k` has the rest.

Command   zoo train configs/in1k.py --model.arch ARCH --workdir DIR --data.data-dir DATA
"""

import dataclasses

from zoo.recipes import in1k
from zoo.training import TrainConfig


def get_config(arch: str = in1k.ARCH) -> TrainConfig:
    """The recipe for one network, with a batch size of your own."""
    recipe = in1k.get_config(arch)
    data = dataclasses.replace(recipe.data, batch_size=1024)
    return dataclasses.replace(recipe, data=data)
