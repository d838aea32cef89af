"""Fine-tuning: a pretrained network, new classes, and a run directory that knows both.

The preprocessing and the activation are kept, the head is replaced, the classes of the new data are
stored with every checkpoint.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from zoo.models import Network, overrides_of, split
from zoo.pretrained import load_pretrained
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
    fit,
)

Trained = Literal["head", "all"]
_TRAINABLE = {"head": r"^head\.", "all": ".*"}
_HEAD = _TRAINABLE["head"]
# A new head on fixed features is a convex problem; trained features need smaller steps. Top-1 at
# 0.01, 0.03, 0.1 from digits 0-4 to 5-9 (18 layers, 200 steps of 64, seed 0, n = 179): head 73,
# 74, 75 %; all 97, 98, 98 %.
_LEARNING_RATE = {"head": 0.1, "all": 0.03}
# Without it a small data set is fitted until the logits, and the loss on unseen images, explode.
_LABEL_SMOOTHING = 0.1


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """What fine-tuning ended with.

    Attributes:
      model: the network, with `preprocess` and `classes`; `load_pretrained(workdir)` gives it too.
      metrics: of the last evaluation: top1, top5, loss, n.
      workdir: the run directory.
      step: number of updates.
      kept: parameters that started from the pretrained ones.
      new: parameters that started at random.
    """

    model: Network
    metrics: dict[str, float]
    workdir: Path
    step: int
    kept: tuple[str, ...]
    new: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All but the model, as JSON values."""
        return {
            "workdir": str(self.workdir),
            "step": self.step,
            "metrics": self.metrics,
            "classes": list(self.model.classes),
            "kept": len(self.kept),
            "new": list(self.new),
        }


def finetune(
    model: Network | str | Path,
    data: str,
    *,
    workdir: str | Path,
    classes: tuple[str, ...] = (),
    train: Trained = "all",
    steps: int = 200,
    batch_size: int = 64,
    learning_rate: float | None = None,
    data_dir: str | None = None,
    split_name: str = "test",
    seed: int = 0,
    progress: bool = True,
) -> FinetuneResult:
    """Trains a pretrained network on the classes of another data set.

      finetune("vanilla_resnet50_tat_lrelu.digits", "folder:photos", workdir="runs/photos")

    Started again on a `workdir` that was interrupted, it goes on.

    Args:
      model: a pretrained network, or whatever `load_pretrained` accepts.
      data: what `open_source` accepts.
      workdir: run directory; `evaluate`, `predict` and `load_pretrained` accept it.
      classes: use only these classes of the data, in this order; empty means all.
      train: "head", only the new last layer, or "all" parameters.
      steps: number of updates.
      batch_size: examples per step over all devices.
      learning_rate: peak of the cosine schedule; None: 0.1 for the head, 0.03 for all.
      data_dir: folder of the data.
      split_name: split of the evaluation at the end.
      seed: of the new head and the order of examples.
      progress: show a progress bar on standard error.

    Raises:
      ValueError: for an unknown `train`, or a network that a training configuration cannot name.
      ConfigError: with every mistake in the other arguments.
    """
    if train not in _TRAINABLE:
        raise ValueError(f"train={train!r}; allowed: {', '.join(_TRAINABLE)}")
    start = model if isinstance(model, Network) else load_pretrained(model)
    if start.preprocess is None:
        raise ValueError("the network has no preprocessing; load it with load_pretrained")
    config = TrainConfig(
        steps=steps,
        seed=seed,
        model=_model_config(start),
        data=DataConfig(data, data_dir=data_dir, batch_size=batch_size, classes=tuple(classes)),
        preprocessing=start.preprocess,
        optimizer=OptimizerConfig(
            "sgd", learning_rate=learning_rate or _LEARNING_RATE[train], clip_norm=1.0
        ),
        schedule=ScheduleConfig("cosine", warmup_fraction=0.1),
        regularization=RegularizationConfig(label_smoothing=_LABEL_SMOOTHING),
        trainable=_TRAINABLE[train],
        eval=EvalConfig(split=split_name),
        checkpoint=CheckpointConfig(every_steps=max(1, steps // 4)),
        log=LogConfig(every_steps=max(1, min(50, steps // 10))),
    )
    params = split(start)[1]
    result = fit(
        config,
        workdir,
        initial_params=params,
        fresh=(_HEAD,),
        activation=start.activation,
        progress=progress,
    )
    new = tuple(name for name in params if name.startswith("head."))
    return FinetuneResult(
        model=result.model,
        metrics=result.metrics,
        workdir=result.run_dir,
        step=result.step,
        kept=tuple(name for name in params if name not in new),
        new=new,
    )


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
