"""What fine-tuning decides for the user: which layers, which splits, how many steps, which rates.

Owns the defaults. A plan is an ordinary training configuration, so a run is an ordinary run.
"""

import dataclasses
import math
import re

from zoo.data import open_source
from zoo.data.own_pictures import is_own, splits_of_own
from zoo.models import Network, overrides_of, split
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

HEAD = r"^(norm|head)\."
_LAST = re.compile(r"last:([1-9]\d*)")
_BLOCK = re.compile(r"stages\.\d+\.blocks\.\d+\.")
_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 20, 200, 20_000
# The lowest loss judges: on the few images that choose the best step, top-1 is too coarse.
_EVALUATIONS, _PATIENCE = 20, 10
_LEARNING_RATE = 0.03
# Without it a small data set is fitted until the logits, and the loss on unseen images, explode.
LABEL_SMOOTHING = 0.1


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


def trainable_pattern(model: Network, train: str) -> str:
    """Regular expression of the trained parameters for "head", "last:N" (blocks and head) or "all".

    Raises:
      ValueError: for another word, or more blocks than there are.
    """
    if train in ("head", "all"):
        return HEAD if train == "head" else ".*"
    blocks = sorted({match[0] for name in split(model)[1] if (match := _BLOCK.match(name))})
    last = _LAST.fullmatch(train)
    if last is None or int(last[1]) > len(blocks):
        raise ValueError(
            f"train={train!r}; allowed: head, all, or last:N with N from 1 to {len(blocks)}, the "
            "number of blocks"
        )
    names = "|".join(re.escape(block) for block in blocks[-int(last[1]) :])
    return f"^({names}|norm\\.|head\\.)"


def finetuning_config(
    model: Network,
    data: str,
    *,
    train: str = "all",
    classes: tuple[str, ...] = (),
    steps: int | None = None,
    batch_size: int = 64,
    learning_rate: float | None = None,
    layer_decay: float = 1.0,
    data_dir: str | None = None,
    seed: int = 0,
    exclude: tuple[str, ...] = (),
) -> TrainConfig:
    """The training run behind `finetune`; its arguments are described there.

    Raises:
      ValueError: for an unknown `train`, options that solving the head does not have, or a network
        that a training configuration cannot name.
    """
    trainable, splits = trainable_pattern(model, train), splits_of(data)
    if train == "head":
        if steps is not None or learning_rate is not None:
            raise ValueError(
                f"steps={steps}, learning_rate={learning_rate}: the head alone is solved, not "
                "trained in steps; leave both out, or train last:1"
            )
        steps = 0
    if steps is None:
        source = open_source(data, splits.train, data_dir=data_dir, exclude=exclude)
        steps = math.ceil(_EPOCHS * len(source) / batch_size)
        steps = min(max(steps, _FEWEST_STEPS), _MOST_STEPS)
    return TrainConfig(
        steps=steps,
        seed=seed,
        model=_model_config(model),
        data=DataConfig(
            data, data_dir=data_dir, batch_size=batch_size, classes=tuple(classes),
            split=splits.train, exclude=exclude,
        ),
        preprocessing=model.preprocess,
        optimizer=OptimizerConfig(
            "sgd", learning_rate=_LEARNING_RATE if learning_rate is None else learning_rate,
            clip_norm=1.0, layer_decay=layer_decay,
        ),
        schedule=ScheduleConfig("cosine", warmup_fraction=0.1),
        regularization=RegularizationConfig(label_smoothing=LABEL_SMOOTHING),
        trainable=trainable,
        eval=EvalConfig(
            max(1, steps // _EVALUATIONS), split=splits.choose, patience=_PATIENCE, criterion="loss"
        ),
        checkpoint=CheckpointConfig(every_steps=0, keep_last=1, served="best"),
        log=LogConfig(every_steps=max(1, min(50, steps // 10))),
    )  # fmt: skip


def _model_config(model: Network) -> ModelConfig:
    """The configuration that builds `model` with as many classes as the data has.

    Raises:
      ValueError: if the model was built with options that a configuration does not have.
    """
    options = overrides_of(model)
    options.pop("num_classes", None)
    options.pop("in_channels", None)  # the preprocessing decides it
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(
            f"{model.arch} was built with {', '.join(unknown)}, which a training configuration "
            f"cannot set; allowed: {', '.join(sorted(known))}"
        )
    return ModelConfig(arch=model.arch, **options)
