"""Twenty steps on the handwritten digits, to see that training works.

Command   zoo train configs/smoke_digits.py --workdir runs/smoke
"""

from zoo.recipes import smoke
from zoo.training import TrainConfig


def get_config(arch: str = smoke.ARCH) -> TrainConfig:
    """The recipe as it is."""
    return smoke.get_config(arch)
