"""Handwritten digits: copy this file and change what you like; `zoo.recipes.digits` has the rest.

Command   zoo train configs/digits.py --model.arch ARCH --workdir runs/digits
"""

import dataclasses

from zoo.recipes import digits
from zoo.training import TrainConfig


def get_config(arch: str = digits.ARCH) -> TrainConfig:
    """The recipe for one network, with a number of steps of your own."""
    return dataclasses.replace(digits.get_config(arch), steps=1500)
