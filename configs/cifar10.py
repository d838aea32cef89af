"""CIFAR-10: copy this file and change what you like; `zoo.recipes.cifar10` has the rest.

Command   zoo train configs/cifar10.py --model.arch ARCH --workdir DIR --data.data-dir DATA
"""

import dataclasses

from zoo.recipes import cifar10
from zoo.training import TrainConfig


def get_config(arch: str = cifar10.ARCH) -> TrainConfig:
    """The recipe for one network, with a width of your own."""
    recipe = cifar10.get_config(arch)
    return dataclasses.replace(recipe, model=recipe.model.with_options(width=cifar10.WIDTH))
