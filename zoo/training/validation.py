"""What makes a training configuration wrong, found before anything is downloaded or compiled."""

import math
import re
from collections.abc import Iterable, Iterator

from zoo.classifier import OWN
from zoo.common.words import nearest
from zoo.data.address import parse_data
from zoo.data.resident import resident_mistakes
from zoo.data.sources import SPLITS
from zoo.kernels import KERNELS
from zoo.training.config import DIGITS_PREPROCESSING, TrainConfig
from zoo.training.decode import ConfigError
from zoo.training.optimizer import OPTIMIZERS
from zoo.training.schedule import SCHEDULES
from zoo.training.sharding import parse_rule

_PRECISIONS = ("default", "high", "highest")
_SEED_LIMIT = 2**31


def validate(config: TrainConfig, *, device_count: int | None = None) -> None:
    """Checks every field that can be checked without data, weights or compilation.

    Args:
      config: what is to run.
      device_count: number of devices there are; None leaves divisibility unchecked.

    Raises:
      ConfigError: with every mistake, one per line.
    """
    TrainConfig.from_json(config.to_json())  # types first: the checks below compare numbers
    checks = (_run, _model, _data, _optimizer, _schedule, _regularization, _periods)
    mistakes = [mistake for check in checks for mistake in check(config)]
    mistakes += _mesh(config, device_count)
    if mistakes:
        raise ConfigError.of(mistakes)


def check_preprocessing(config: TrainConfig) -> None:
    """Refuses to make 8 x 8 grey pixels of photographs because a recipe was made for digits.

    Raises:
      ConfigError: for other data than digits with the preprocessing of digits.
    """
    if config.preprocessing == DIGITS_PREPROCESSING and config.data.name != "digits":
        raise ConfigError(
            f"data.name={config.data.name!r} with the preprocessing of digits, which makes 8 x 8 "
            "grey pixels of every image; set preprocessing.image-size, .channels, .mean and .std, "
            "such as --preprocessing.image-size 32 32 --preprocessing.channels 3 "
            "--preprocessing.mean 0.491 0.482 0.447 --preprocessing.std 0.247 0.243 0.262"
        )


def _run(config: TrainConfig) -> Iterator[str]:
    if (config.steps is None) == (config.epochs is None):
        yield f"steps={config.steps}, epochs={config.epochs}: give exactly one of them"
    yield from _above("steps", config.steps, 1)
    yield from _above("steps_per_dispatch", config.steps_per_dispatch, 1)
    if (config.steps_per_dispatch or 1) > 1 and not config.data.resident:
        yield (
            f"steps_per_dispatch={config.steps_per_dispatch}: batches from the host come one by "
            "one; set data.resident=True or leave it out"
        )
    if config.epochs is not None and not 0 < config.epochs < math.inf:
        yield f"epochs={config.epochs}: give a positive number"
    yield from _one_of("precision", config.precision, _PRECISIONS)
    yield from _one_of("kernels", config.kernels, KERNELS)
    yield from _pattern("trainable", config.trainable)
    if config.ema_decay is not None:
        yield from _share("ema_decay", config.ema_decay, below_one=True)
    if not 0 <= config.seed < _SEED_LIMIT:
        yield f"seed={config.seed}: give a whole number from 0 to {_SEED_LIMIT - 1}"


def _model(config: TrainConfig) -> Iterator[str]:
    yield from _above("model.num_classes", config.model.num_classes, 1)
    yield from (f"model.{mistake}" for mistake in config.model.mistakes())


def _data(config: TrainConfig) -> Iterator[str]:
    data = config.data
    try:
        _ = data.name == OWN or parse_data(data.name)
    except ValueError as error:
        yield f"data.name: {error}"
    yield from _above("data.batch_size", data.batch_size, 1)
    yield from _above("data.workers", data.workers, 0)
    yield from _above("data.limit", data.limit, 1)
    yield from _one_of("data.bad_examples", data.bad_examples, ("error", "skip"))
    yield from _one_of("data.decoder", data.decoder, ("pillow", "fast"))
    if data.resident:
        yield from resident_mistakes(config.augmentation, data.bad_examples)
    yield from _one_of("data.split", data.split, SPLITS)
    yield from _one_of("eval.split", config.eval.split, SPLITS)


def _optimizer(config: TrainConfig) -> Iterator[str]:
    optimizer = config.optimizer
    yield from _one_of("optimizer.name", optimizer.name, (*OPTIMIZERS, OWN))
    if not 0 < optimizer.learning_rate < math.inf:
        yield f"optimizer.learning_rate={optimizer.learning_rate}: give a positive number"
    yield from _share("optimizer.momentum", optimizer.momentum, below_one=True)
    yield from _share("optimizer.second_moment", optimizer.second_moment, below_one=True)
    if not 0 <= optimizer.weight_decay < math.inf:
        yield f"optimizer.weight_decay={optimizer.weight_decay}: give 0 or a positive number"
    if optimizer.clip_norm is not None and not optimizer.clip_norm > 0:
        yield f"optimizer.clip_norm={optimizer.clip_norm}: give a positive number or None"
    yield from _pattern("optimizer.decay_pattern", optimizer.decay_pattern)
    yield from _pattern("optimizer.keep_norms", optimizer.keep_norms or "")
    if not 0 < optimizer.layer_decay <= 1:
        yield f"optimizer.layer_decay={optimizer.layer_decay}: give a number above 0, at most 1"
    yield from _above("optimizer.accumulate_steps", optimizer.accumulate_steps, 1)
    kfac = optimizer.kfac
    if not 0 < kfac.damping < math.inf:
        yield f"optimizer.kfac.damping={kfac.damping}: give a positive number"
    if kfac.norm_constraint is not None and not kfac.norm_constraint > 0:
        yield (
            f"optimizer.kfac.norm_constraint={kfac.norm_constraint}: give a positive number or None"
        )
    yield from _share("optimizer.kfac.curvature_decay", kfac.curvature_decay, below_one=True)
    yield from _above("optimizer.kfac.inverse_period", kfac.inverse_period, 1)
    yield from _above("optimizer.kfac.burnin_steps", kfac.burnin_steps, 0)
    soap = optimizer.soap
    decay = soap.preconditioner_decay
    yield from _share("optimizer.soap.preconditioner_decay", decay, below_one=True)
    yield from _above("optimizer.soap.basis_period", soap.basis_period, 1)
    yield from _above("optimizer.soap.largest_side", soap.largest_side, 0)


def _schedule(config: TrainConfig) -> Iterator[str]:
    schedule = config.schedule
    yield from _one_of("schedule.name", schedule.name, tuple(SCHEDULES))
    yield from _above("schedule.warmup_steps", schedule.warmup_steps, 0)
    yield from _share("schedule.warmup_fraction", schedule.warmup_fraction, below_one=True)
    yield from _share("schedule.final_fraction", schedule.final_fraction)
    yield from (m for b in schedule.boundaries for m in _share("schedule.boundaries", b))
    yield from _share("schedule.factor", schedule.factor)
    if schedule.warmup_steps and schedule.warmup_fraction:
        yield (
            f"schedule.warmup_steps={schedule.warmup_steps} and schedule.warmup_fraction="
            f"{schedule.warmup_fraction}: give only one of them"
        )
    if config.steps is not None and schedule.warmup_steps > config.steps:
        yield (
            f"schedule.warmup_steps={schedule.warmup_steps} is longer than the run of "
            f"{config.steps} steps; lower it or raise steps"
        )


def _regularization(config: TrainConfig) -> Iterator[str]:
    regularization = config.regularization
    for name in ("label_smoothing", "mixup", "cutmix", "erasing"):
        yield from _share(f"regularization.{name}", getattr(regularization, name))
    if not all(0 < weight < math.inf for weight in regularization.class_weights):
        yield (
            f"regularization.class_weights={regularization.class_weights}: give positive numbers"
        )
    for name in ("mixup_alpha", "cutmix_alpha"):
        if not getattr(regularization, name) > 0:
            yield f"regularization.{name}={getattr(regularization, name)}: give a positive number"
    if regularization.mixup + regularization.cutmix > 1:
        yield (
            f"regularization.mixup={regularization.mixup} and cutmix={regularization.cutmix}: "
            "a step does one of them, their sum must not exceed 1"
        )


def _periods(config: TrainConfig) -> Iterator[str]:
    yield from _above("eval.every_steps", config.eval.every_steps, 0)
    yield from _above("eval.batch_size", config.eval.batch_size, 1)
    yield from _above("eval.limit", config.eval.limit, 1)
    yield from _above("eval.patience", config.eval.patience, 0)
    yield from _one_of("eval.criterion", config.eval.criterion, ("top1", "loss"))
    if config.eval.patience and not config.eval.every_steps:
        yield f"eval.patience={config.eval.patience}: set eval.every_steps, or it never counts"
    yield from _one_of("checkpoint.served", config.checkpoint.served, ("latest", "best"))
    yield from _above("checkpoint.every_steps", config.checkpoint.every_steps, 0)
    yield from _above("checkpoint.keep_last", config.checkpoint.keep_last, 1)
    yield from _above("checkpoint.keep_best", config.checkpoint.keep_best, 0)
    yield from _above("log.every_steps", config.log.every_steps, 1)


def _mesh(config: TrainConfig, device_count: int | None) -> Iterator[str]:
    for rule in config.mesh.rules:
        try:
            parse_rule(rule)
        except ValueError as error:
            yield str(error)
    yield from _above("mesh.devices", config.mesh.devices, 1)
    yield from _above("mesh.model", config.mesh.model, 1)
    devices, model = config.mesh.devices or device_count, config.mesh.model
    if device_count is not None and devices is not None and devices > device_count:
        yield f"mesh.devices={devices}: only {device_count} devices are there"
    if devices is None or devices < 1 or model < 1:
        return
    if devices % model:
        yield f"mesh.model={model} does not divide {devices} devices; give a divisor of {devices}"
        return
    among = f"{devices} devices"
    yield from _divides("eval.batch_size", config.eval.batch_size, devices, among)
    among += f" / mesh.model={model}" if model > 1 else ""
    parts = config.optimizer.accumulate_steps
    if parts >= 1:
        among += f" times optimizer.accumulate_steps={parts}"
        shares = devices // model * parts
        yield from _divides("data.batch_size", config.data.batch_size, shares, among)


def _divides(name: str, value: int, divisor: int, among: str) -> Iterator[str]:
    if value >= 1 and value % divisor:
        near = max(1, round(value / divisor)) * divisor
        yield f"{name}={value} does not divide among {among}; nearest that does: {near}"


def _above(name: str, value: int | None, smallest: int) -> Iterator[str]:
    if value is not None and value < smallest:
        yield f"{name}={value}: give a whole number >= {smallest}"


def _share(name: str, value: float, *, below_one: bool = False) -> Iterator[str]:
    if not (0 <= value < 1 if below_one else 0 <= value <= 1):
        yield f"{name}={value}: give a number from 0 to 1{', less than 1' if below_one else ''}"


def _one_of(
    name: str, value: str, allowed: Iterable[str], *, show_all: bool = True
) -> Iterator[str]:
    allowed = tuple(allowed)
    if value not in allowed:
        near = nearest(value, allowed)
        hint = f"; {near}" if near else ""
        listing = f"; allowed: {', '.join(allowed)}" if show_all else "; all: zoo list"
        yield f"{name}={value!r} is unknown{hint}{listing}"


def _pattern(name: str, value: str) -> Iterator[str]:
    try:
        re.compile(value)
    except re.error as error:
        yield f"{name}={value!r} is not a regular expression: {error}"
