"""What fine-tuning decides for the user: which layers, which splits, how many steps, which rates.

Owns the defaults. A plan is an ordinary training configuration, so a run is an ordinary run.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.classifier import Classifier
from zoo.data import Augmentation, Preprocessing, Source, open_source, subset
from zoo.data.own_pictures import is_own, splits_of_own
from zoo.data.resident import IN_MEMORY_BYTES, resident_mistakes
from zoo.data.sources import source_labels
from zoo.finetuning.options import FinetuneOptions
from zoo.finetuning.pictures import look_at
from zoo.models import changed_options
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
)

_LAST = re.compile(r"last:([1-9]\d*)")
_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 20, 200, 20_000
# The lowest loss judges: on the few images that choose the best step, top-1 is too coarse.
_EVALUATIONS, _PATIENCE = 20, 10
_LEARNING_RATES = {"sgd": 0.03, "adamw": 0.001}
# What only steps have, and the solved head has not.
_OF_STEPS = (
    "steps", "epochs", "learning_rate", "optimizer", "weight_decay", "ema_decay",
    "accumulate_steps", "layer_decay",
)  # fmt: skip
# From here on pictures are cut out of larger ones, below it they are shifted.
_LARGE, _CROPPED_AREA = 96, (0.25, 1.0)


@dataclasses.dataclass(frozen=True)
class Splits:
    """Which splits of a data set train, choose the best step, and measure it at the end."""

    train: str
    choose: str
    measure: str


def splits_of(data: str) -> Splits:
    """The splits of a data set, such that what is measured on `test` chose nothing.

    A folder with val/ (a table with such rows) chooses by it, and measures on test/ or, without
    one, on val/ too. All other data gives up a part of train (`zoo.data.holdout`) to choose by, and
    is measured by that part where it has no test images.
    """
    if not is_own(data):
        return Splits("remainder", "holdout", "test")
    present = splits_of_own(data)
    has_test = "test" in present
    if {"val", "valid", "validation"} & set(present):
        return Splits("train", "val", "test" if has_test else "val")
    return Splits("remainder", "holdout", "test" if has_test else "holdout")


def trainable_pattern(model: Classifier, train: str) -> str:
    """Regular expression of the trained parameters for "head", "last:N" (blocks and head) or "all".

    Raises:
      ValueError: for another word, or more blocks than there are.
    """
    if train == "all":
        return ".*"
    layout = model.network.layout
    blocks = [part.name for part in layout if part.role == "block"]
    above = [part.name for part in layout if part.role in ("pool", "head")]
    if train == "head":
        return _any_of(above)
    last = _LAST.fullmatch(train)
    if last is None or int(last[1]) > len(blocks):
        raise ValueError(
            f"train={train!r}; allowed: head, all, or last:N with N from 1 to {len(blocks)}, the "
            "number of blocks"
        )
    return _any_of([*blocks[-int(last[1]) :], *above])


def _any_of(parts: Sequence[str]) -> str:
    """Regular expression of the parameters of these parts."""
    return f"^({'|'.join(re.escape(part) for part in parts)})\\."


def layers_trained(train: str) -> str:
    """What `train` names, in words."""
    if train in ("head", "all"):
        return {"head": "the head alone", "all": "all"}[train]
    return f"the last {train.removeprefix('last:')} blocks and the head"


def finetuning_config(
    model: Classifier,
    data: str,
    *,
    classes: tuple[str, ...] = (),
    data_dir: str | None = None,
    exclude: tuple[str, ...] = (),
    **options: Any,
) -> TrainConfig:
    """The training run behind `finetune`; its arguments are described there.

    Raises:
      ValueError: for an unknown `train`, options that solving the head does not have, or a network
        that a training configuration cannot name.
    """
    asked, splits = FinetuneOptions(**options), splits_of(data)
    trainable = trainable_pattern(model, asked.train)
    source = open_source(data, splits.train, data_dir=data_dir, exclude=exclude)
    source = subset(source, classes) if classes else source
    steps = _steps(asked, len(source))
    augmentation = _augmentation(asked, source, model.preprocess)
    return TrainConfig(
        steps=steps,
        seed=asked.seed,
        model=ModelConfig(model.provenance.arch, **_options(model, asked.dtype)),
        data=DataConfig(
            data, data_dir=data_dir, batch_size=asked.batch_size, classes=tuple(classes),
            split=splits.train, exclude=exclude,
            resident=_fits_in_memory(source, model.preprocess, augmentation),
        ),
        preprocessing=model.preprocess,
        augmentation=augmentation,
        optimizer=OptimizerConfig(
            asked.optimizer, learning_rate=_learning_rate(asked), clip_norm=1.0,
            weight_decay=asked.weight_decay, layer_decay=asked.layer_decay,
            accumulate_steps=asked.accumulate_steps,
        ),
        schedule=ScheduleConfig("cosine", warmup_fraction=0.1),
        regularization=RegularizationConfig(
            label_smoothing=asked.label_smoothing, class_weights=_class_weights(asked, source)
        ),
        ema_decay=asked.ema_decay,
        trainable=trainable,
        eval=EvalConfig(
            max(1, steps // _EVALUATIONS), split=splits.choose, patience=_PATIENCE, criterion="loss"
        ),
        checkpoint=CheckpointConfig(every_steps=0, keep_last=1, keep_first=True, served="best"),
        log=LogConfig(every_steps=max(1, min(50, steps // 10))),
    )  # fmt: skip


def _steps(asked: FinetuneOptions, examples: int) -> int:
    """Number of updates; none where the head alone is solved."""
    if asked.train == "head":
        plain = FinetuneOptions()
        given = [name for name in _OF_STEPS if getattr(asked, name) != getattr(plain, name)]
        if given:
            raise ValueError(
                f"{given[0]}={getattr(asked, given[0])}: the head alone is solved, not trained in "
                "steps; leave it out, or train last:1"
            )
        return 0
    if asked.steps is not None and asked.epochs is not None:
        raise ValueError(f"steps={asked.steps}, epochs={asked.epochs}: give only one of them")
    if asked.steps is not None:
        return asked.steps
    if asked.epochs is not None:
        return math.ceil(asked.epochs * examples / asked.batch_size)
    return min(max(math.ceil(_EPOCHS * examples / asked.batch_size), _FEWEST_STEPS), _MOST_STEPS)


def _learning_rate(asked: FinetuneOptions) -> float:
    if asked.learning_rate is not None:
        return asked.learning_rate
    if asked.optimizer not in _LEARNING_RATES:
        raise ValueError(f"optimizer={asked.optimizer!r} has no usual rate here; give one")
    return _LEARNING_RATES[asked.optimizer]


def _augmentation(
    asked: FinetuneOptions, source: Source, preprocessing: Preprocessing
) -> Augmentation:
    """Mirrored and moved photographs are photographs; mirrored letters or digits are not."""
    if asked.train == "head":
        return Augmentation()
    decided = "auto" not in (asked.flip, asked.crop)
    is_photograph = not decided and preprocessing.channels == 3 and look_at(source).is_coloured
    side = min(preprocessing.image_size)
    usual = "pad" if side < _LARGE else "resize"
    crop = asked.crop if asked.crop != "auto" else usual if is_photograph else "no"
    return Augmentation(
        flip=asked.flip == "yes" or (asked.flip == "auto" and is_photograph),
        crop_padding=side // 8 if crop == "pad" else 0,
        random_resized_crop=_CROPPED_AREA if crop == "resize" else None,
    )


def _fits_in_memory(
    source: Source, preprocessing: Preprocessing, augmentation: Augmentation
) -> bool:
    """Whether the images are decoded once and stay: the batches are the same, bit for bit."""
    size = len(source) * math.prod(preprocessing.image_size) * preprocessing.channels
    return size <= IN_MEMORY_BYTES and not resident_mistakes(augmentation, "error")


def _class_weights(asked: FinetuneOptions, source: Source) -> tuple[float, ...]:
    """n / (classes * images of the class), of mean 1 over the images; none if not asked for."""
    if asked.class_weights == "none":
        return ()
    counts = np.bincount(source_labels(source), minlength=len(source.classes))
    return tuple(len(source) / (len(counts) * max(int(count), 1)) for count in counts)


def _options(model: Classifier, dtype: str | None) -> dict[str, Any]:
    """The options that build the network; data and preprocessing decide its outer sizes.

    Raises:
      ValueError: if the network is of no registered architecture.
    """
    if not model.provenance.arch:
        raise ValueError(
            "the network is of no registered architecture; register its family, or train it with "
            "zoo.train"
        )
    options = changed_options(model.config, model.provenance.arch)
    options |= {} if dtype is None else {"dtype": dtype}
    return {n: v for n, v in options.items() if n not in ("num_classes", "in_channels")}
