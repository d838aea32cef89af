"""What recipes, sweeps and their pages know of the networks they train, by their ids."""

import re

from zoo.models import list_models, variant_of

METHODS = {
    "vanilla_resnet{}_tat_lrelu": "TAT, leaky ReLU",
    "vanilla_resnet{}_dks_softplus": "DKS, softplus",
    "vanilla_resnet{}_eoc_relu": "EOC, ReLU",
    "resnet{}": "BatchNorm, shortcuts",
    "rescaled_resnet{}_dks_softplus": "DKS, softplus, rescaled shortcuts",
    "vanilla_resnet{}_tat_tanh": "TAT, tanh",
}
"""Ids by depth -> the method in words."""


def is_batch_norm(arch: str) -> bool:
    """Whether the network normalises by its batch: it decays weights and is not clipped."""
    return arch in list_models() and variant_of(arch).config.normalizes_batches


def baseline_of(arch: str) -> str:
    """Id of the BatchNorm ResNet of the same depth."""
    return f"resnet{method_and_depth(arch)[1]}"


def depth_of(arch: str) -> int | None:
    """The number that an id names its depth by, if it names one."""
    found = re.search(r"\d+", arch)
    return None if found is None else int(found.group())


def method_and_depth(arch: str) -> tuple[str, int]:
    """Method in words, or the id's own words, and depth.

    Raises:
      ValueError: if the id names no depth.
    """
    depth = depth_of(arch)
    if depth is None:
        raise ValueError(f"{arch!r} names no depth; networks of a sweep are ...DEPTH...")
    pattern = arch.replace(str(depth), "{}", 1)
    return METHODS.get(pattern, pattern.format("")), depth
