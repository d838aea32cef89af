"""Sweeps: lists of runs that are compared, in order of value, each with a name of its own.

Baselines `resnetN` is ResNet-V2 with BatchNorm and shortcuts: same trunk, width, data and budget
Measured  `digits`, `digits_rates` and `cifar10_cpu`: docs/results.md; nothing of the others yet
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from zoo.data import Augmentation, Preprocessing
from zoo.recipes import cifar10, digits, smoke
from zoo.training import CheckpointConfig, DataConfig, EvalConfig, RegularizationConfig, TrainConfig

_DEPTHS = (50, 101, 152, 200)
_SEEDS = (0, 1, 2)
_BY_VALUE = (
    "vanilla_resnet50_tat_lrelu",
    "resnet50",
    "vanilla_resnet101_tat_lrelu",
    "vanilla_resnet152_tat_lrelu",
    "vanilla_resnet200_tat_lrelu",
    "vanilla_resnet50_eoc_relu",
    "vanilla_resnet200_eoc_relu",
    "vanilla_resnet50_dks_softplus",
    "vanilla_resnet101_dks_softplus",
    "rescaled_resnet50_dks_softplus",
    "vanilla_resnet50_tat_tanh",
    "resnet101",
    "resnet152",
    "resnet200",
)
_IN_TINY_IMAGENET = 4
_WITH_THREE_SEEDS = 6
_METHODS = (
    "vanilla_resnet{}_tat_lrelu",
    "resnet{}",
    "vanilla_resnet{}_eoc_relu",
    "vanilla_resnet{}_dks_softplus",
)
_DIGITS_STEPS = 600
_RATES = (0.1, 0.03, 0.01)
_LARGER_RATE = 0.3  # tried as well where 0.1 was the best of these
_BEST_AT_THE_EDGE = (
    "resnet50",
    "resnet101",
    "vanilla_resnet50_tat_lrelu",
    "vanilla_resnet50_dks_softplus",
)
_TRIED_DEPTHS = (50, 101)
_TRIAL_STEPS = 300


@dataclasses.dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: its name, which is also its folder, and everything that decides it."""

    name: str
    config: TrainConfig


def sweeps() -> dict[str, tuple[SweepRun, ...]]:
    """The runs by sweep, in order of value."""
    return {name: tuple(runs()) for name, runs in _SWEEPS.items()}


def _cifar10() -> Iterable[SweepRun]:
    yield from _of_both_optimizers(cifar10.get_config, _BY_VALUE, seeds=(0,))
    yield from _of_both_optimizers(
        cifar10.get_config, _BY_VALUE[:_WITH_THREE_SEEDS], seeds=_SEEDS[1:]
    )


def _tiny_imagenet() -> Iterable[SweepRun]:
    def recipe(arch: str, optimizer: str) -> TrainConfig:
        return dataclasses.replace(
            cifar10.get_config(arch, optimizer),
            data=DataConfig("folder:tiny-imagenet-64", batch_size=256, resident=True),
            preprocessing=Preprocessing((64, 64)),
            augmentation=Augmentation(crop_padding=8, flip=True),
            eval=EvalConfig(every_steps=2000, split="val", batch_size=400),
        )

    yield from _of_both_optimizers(recipe, _BY_VALUE[:_IN_TINY_IMAGENET], seeds=(0,))


def _of_both_optimizers(
    recipe: Callable[[str, str], TrainConfig], archs: Iterable[str], seeds: Iterable[int]
) -> Iterable[SweepRun]:
    for seed in seeds:
        for arch in archs:
            for optimizer in cifar10.OPTIMIZERS:
                config = dataclasses.replace(recipe(arch, optimizer), seed=seed)
                yield SweepRun(f"{arch}-{optimizer}-{seed}", config)


def _cifar10_cpu() -> Iterable[SweepRun]:
    """Half the width and an eighth of the images, for two cores; no match for the run above it."""
    full = cifar10.get_config(optimizer="muon")
    config = dataclasses.replace(
        full,
        epochs=12,
        model=full.model.with_options(width=cifar10.WIDTH / 2, dtype="float32"),
        data=dataclasses.replace(full.data, batch_size=128),
        regularization=RegularizationConfig(),
        eval=EvalConfig(every_steps=1000, batch_size=250),
        checkpoint=CheckpointConfig(every_steps=250, keep_best=0),
    )
    yield SweepRun(f"{cifar10.ARCH}-0", config)


def _digits_rates() -> Iterable[SweepRun]:
    """Short trials that choose each network's learning rate by its training loss."""
    for method in _METHODS:
        for depth in _TRIED_DEPTHS:
            arch = method.format(depth)
            recipe = dataclasses.replace(digits.get_config(arch), steps=_TRIAL_STEPS)
            for rate in (*_RATES, *((_LARGER_RATE,) if arch in _BEST_AT_THE_EDGE else ())):
                optimizer = dataclasses.replace(recipe.optimizer, learning_rate=rate)
                config = dataclasses.replace(recipe, optimizer=optimizer)
                yield SweepRun(f"{arch}-{rate}", config)


def _digits() -> Iterable[SweepRun]:
    """What two cores can fill: every method at every depth, each at its own learning rate."""
    for seed in _SEEDS:
        for depth in _DEPTHS:
            for method in _METHODS:
                arch = method.format(depth)
                config = digits.get_config(arch)
                config = dataclasses.replace(config, steps=_DIGITS_STEPS, seed=seed)
                yield SweepRun(f"{arch}-{seed}", config)


def _smoke() -> Iterable[SweepRun]:
    """Seconds each, to see that the trainer works."""
    for arch in (smoke.ARCH, "resnet18"):
        yield SweepRun(f"{arch}-0", smoke.get_config(arch))


_SWEEPS: Mapping[str, Callable[[], Iterable[SweepRun]]] = {
    "cifar10": _cifar10,
    "tiny_imagenet": _tiny_imagenet,
    "cifar10_cpu": _cifar10_cpu,
    "digits_rates": _digits_rates,
    "digits": _digits,
    "smoke": _smoke,
}
