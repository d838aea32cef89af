"""Every network that the zoo trains: one row each, in order of value, by data set.

Command   python tools/train_zoo.py --matrix cifar10 --data-dir DIR --budget 9m, again until done
Baselines `resnetN` is ResNet-V2 with BatchNorm and shortcuts: same trunk, width, data and budget
Measured  nothing for CIFAR-10 and Tiny-ImageNet yet; learning rates are those of short trials
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

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
    load_config,
)

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
# Least training loss of the trials: at 50 layers, and at 101, which the deeper ones take too.
# Edge of chaos stayed at chance with 101 layers whatever the rate.
_DIGITS_RATES = {
    "vanilla_resnet{}_tat_lrelu": (0.1, 0.03),
    "resnet{}": (0.3, 0.1),
    "vanilla_resnet{}_eoc_relu": (0.03, 0.03),
    "vanilla_resnet{}_dks_softplus": (0.1, 0.03),
}
_DIGITS_STEPS = 600
_IN_TINY_IMAGENET = 4
_WITH_THREE_SEEDS = 6
_WIDTH = 0.25  # at most 9 MB in bfloat16 at depth 200
_OPTIMIZERS = {
    "sgd": OptimizerConfig("sgd", learning_rate=0.05, weight_decay=5e-4, clip_norm=1.0),
    "muon": OptimizerConfig("muon", learning_rate=0.005, momentum=0.95, weight_decay=0.1),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One run: its name, which is also its folder, and everything that decides it."""

    name: str
    config: TrainConfig


def matrices() -> dict[str, tuple[Row, ...]]:
    """The rows by matrix, in order of value."""
    cifar10, tiny = _cifar10(), _tiny_imagenet()
    first, seeded = _BY_VALUE, _BY_VALUE[:_WITH_THREE_SEEDS]
    return {
        "cifar10": (
            *_of_both_optimizers(cifar10, first, seeds=(0,)),
            *_of_both_optimizers(cifar10, seeded, seeds=_SEEDS[1:]),
        ),
        "tiny_imagenet": tuple(_of_both_optimizers(tiny, first[:_IN_TINY_IMAGENET], seeds=(0,))),
        "cifar10_cpu": tuple(_cifar10_cpu()),
        "digits_rates": tuple(_digits_rates()),
        "digits": tuple(_digits()),
        "smoke": tuple(_smoke()),
    }


def _cifar10() -> TrainConfig:
    return TrainConfig(
        epochs=100,
        model=ModelConfig(stem="cifar", width=_WIDTH, dtype="bfloat16"),
        data=DataConfig("cifar10", batch_size=256, resident=True),
        preprocessing=Preprocessing(
            (32, 32), mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
        ),
        augmentation=Augmentation(crop_padding=4, flip=True),
        schedule=ScheduleConfig("cosine", warmup_fraction=0.1),
        regularization=RegularizationConfig(label_smoothing=0.1),
        eval=EvalConfig(every_steps=2000, batch_size=1000),
        checkpoint=CheckpointConfig(every_steps=1000, keep_best=0),
        log=LogConfig(every_steps=100),
    )


def _tiny_imagenet() -> TrainConfig:
    return dataclasses.replace(
        _cifar10(),
        data=DataConfig("folder:tiny-imagenet-64", batch_size=256, resident=True),
        preprocessing=Preprocessing((64, 64)),
        augmentation=Augmentation(crop_padding=8, flip=True),
        eval=EvalConfig(every_steps=2000, split="val", batch_size=400),
    )


def _of_both_optimizers(
    recipe: TrainConfig, archs: Iterable[str], seeds: Iterable[int]
) -> Iterable[Row]:
    for seed in seeds:
        for arch in archs:
            for name, optimizer in _OPTIMIZERS.items():
                config = dataclasses.replace(recipe, optimizer=optimizer)
                yield _row(f"{arch}-{name}-{seed}", config, arch, seed)


def _cifar10_cpu() -> Iterable[Row]:
    """Half the width and an eighth of the images, for two cores; no match for the row above it."""
    full = _cifar10()
    recipe = dataclasses.replace(
        full,
        epochs=12,
        model=full.model.with_options(width=_WIDTH / 2, dtype="float32"),
        data=dataclasses.replace(full.data, batch_size=128),
        optimizer=_OPTIMIZERS["muon"],
        regularization=RegularizationConfig(),
        eval=EvalConfig(every_steps=1000, batch_size=250),
        checkpoint=CheckpointConfig(every_steps=250, keep_best=0),
    )
    yield _row("vanilla_resnet50_tat_lrelu-0", recipe, "vanilla_resnet50_tat_lrelu", 0)


def _digits_rates() -> Iterable[Row]:
    """Short trials that choose each network's learning rate by its training loss."""
    recipe = load_config(Path(__file__).with_name("vanilla_resnet50_tat_lrelu_digits.py"))
    for method in _DIGITS_RATES:
        for depth in _TRIED_DEPTHS:
            arch = method.format(depth)
            for rate in (*_RATES, *((_LARGER_RATE,) if arch in _BEST_AT_THE_EDGE else ())):
                optimizer = dataclasses.replace(recipe.optimizer, learning_rate=rate)
                config = dataclasses.replace(recipe, steps=_TRIAL_STEPS, optimizer=optimizer)
                yield _row(f"{arch}-{rate}", config, arch, 0)


def _digits() -> Iterable[Row]:
    """What two cores can fill: every method at every depth, each at its own learning rate."""
    recipe = load_config(Path(__file__).with_name("vanilla_resnet50_tat_lrelu_digits.py"))
    for seed in _SEEDS:
        for depth in _DEPTHS:
            for method, (shallow, deep) in _DIGITS_RATES.items():
                rate = shallow if depth == _TRIED_DEPTHS[0] else deep
                optimizer = dataclasses.replace(recipe.optimizer, learning_rate=rate)
                config = dataclasses.replace(recipe, steps=_DIGITS_STEPS, optimizer=optimizer)
                arch = method.format(depth)
                yield _row(f"{arch}-{seed}", config, arch, seed)


def _smoke() -> Iterable[Row]:
    """Seconds each, to see that the trainer works."""
    recipe = load_config(Path(__file__).with_name("smoke_digits.py"))
    for arch in ("vanilla_resnet18_tat_lrelu", "resnet18"):
        yield _row(f"{arch}-0", recipe, arch, 0)


def _row(name: str, recipe: TrainConfig, arch: str, seed: int) -> Row:
    model, optimizer = recipe.model.with_arch(arch), recipe.optimizer
    if arch.startswith("resnet"):
        # Its first gradients are of norm 20 (50 layers) to 400 (200 layers) on the digits: clipped
        # to 1, it hardly trained.
        optimizer = dataclasses.replace(optimizer, clip_norm=None)
    return Row(name, dataclasses.replace(recipe, model=model, optimizer=optimizer, seed=seed))
