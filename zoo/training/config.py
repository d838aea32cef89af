"""Everything that decides a training run, as frozen dataclasses that survive JSON.

Owns the fields and their defaults. What makes a configuration wrong is in `validation.py`.
"""

import dataclasses
import math
from typing import Any

from zoo.common.json_values import plain
from zoo.data import Augmentation, Preprocessing
from zoo.training.decode import decode_dataclass
from zoo.training.model_config import ModelConfig
from zoo.training.optimizer_config import OptimizerConfig, ScheduleConfig

DIGITS_PREPROCESSING = Preprocessing((8, 8), mean=(0.305,), std=(0.376,), channels=1)
"""8 x 8 grey pixels, normalised by the mean and standard deviation of the training digits."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the training examples come from.

    Attributes:
      name: of a data set (`zoo.data.address`), such as "digits", "folder:PATH" or "tfds:NAME".
      data_dir: folder of the data; None is the default cache.
      split: split trained on.
      batch_size: examples per step over all devices and hosts.
      workers: processes that prepare batches; 0 uses one thread.
      resident: keep all training images on the device and crop and flip them inside the step;
        the batches are the same, bit for bit. For data sets that fit.
      limit: use only so many examples, evenly spread over the split, for trials.
      classes: use only these classes, relabelled in this order; empty means all.
      bad_examples: "error" stops at an unreadable image; "skip" takes the next one and counts.
      exclude: files of a folder or table that are left out, by their relative names.
      decoder: "pillow", or "fast" for random-resized crops of JPEG files (docs/input.md).
    """

    name: str = "digits"
    data_dir: str | None = None
    split: str = "train"
    batch_size: int = 128
    workers: int = 0
    resident: bool = False
    limit: int | None = None
    classes: tuple[str, ...] = ()
    bad_examples: str = "error"
    exclude: tuple[str, ...] = ()
    decoder: str = "pillow"


@dataclasses.dataclass(frozen=True)
class RegularizationConfig:
    """Changes to images and targets on the device, inside the step.

    Attributes:
      label_smoothing: share of the target spread evenly over all classes.
      mixup: probability that a step mixes its images by mixup.
      mixup_alpha: parameter of mixup's Beta distribution.
      cutmix: probability that a step mixes its images by cutmix; excludes mixup.
      cutmix_alpha: parameter of cutmix's Beta distribution.
      erasing: probability that an image loses a random rectangle.
      class_weights: factor on the loss of the examples of each class; empty: 1 for all.
    """

    label_smoothing: float = 0.0
    mixup: float = 0.0
    mixup_alpha: float = 0.2
    cutmix: float = 0.0
    cutmix_alpha: float = 1.0
    erasing: float = 0.0
    class_weights: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation during the run.

    Attributes:
      every_steps: period; 0 evaluates only at the end.
      split: of the data.
      batch_size: examples at a time over all devices.
      limit: use only so many examples, evenly spread.
      patience: stop after so many evaluations in a row without a better one; 0 never stops.
      criterion: what makes an evaluation better: a higher "top1" or a lower "loss".
    """

    every_steps: int = 0
    split: str = "test"
    batch_size: int = 256
    limit: int | None = None
    patience: int = 0
    criterion: str = "top1"


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints.

    Attributes:
      every_steps: period; 0 saves only at the end. Every evaluated step is saved too.
      keep_last: how many of the latest are kept.
      keep_best: how many of the best, by `eval.criterion`, are kept.
      keep_first: keep the first one too.
      served: which one the run directory stands for when it is loaded: "latest" or "best".
    """

    every_steps: int = 1000
    keep_last: int = 2
    keep_best: int = 1
    keep_first: bool = False
    served: str = "latest"


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """The log: period in steps, sizes of every layer's values, TensorBoard event files."""

    every_steps: int = 50
    layer_norms: bool = False
    tensorboard: bool = False


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """How the state lies on the devices.

    Attributes:
      devices: number of devices used; None uses all.
      model: devices that share one copy of the parameters, along the mesh axis "model"; the
        others, along the axis "data", share the batch.
      fsdp: split every kernel, and what the optimiser keeps of it, over the axis "data", and
        gather it where it is used (arXiv 2304.11277): less memory, more communication.
      rules: "PATTERN=AXES": parameters whose name the regular expression PATTERN finds are split
        along AXES, one of "data", "model" or "-" per dimension, and the first rule that matches
        counts. "data" splits storage alone, "model" the computation too:
        `head.kernel=-,model` computes each class on one part of the devices.
    """

    devices: int | None = None
    model: int = 1
    fsdp: bool = False
    rules: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """A training run.

      config = TrainConfig(steps=200, data=DataConfig("digits", batch_size=64))

    Attributes:
      steps: number of updates; give this or `epochs`.
      epochs: passes over the training data.
      seed: of weights, batches and all randomness inside the step.
      steps_per_dispatch: with `data.resident`, most steps between two words of the host; none goes
        past a step that is logged, evaluated or saved. None: 25, but 1 on CPU. From 2 on the
        number changes no bit.
      init_from: weight or run to start from, whatever `zoo.load_pretrained` accepts: its parameters
        and its solved activations; a head for other classes starts at random. None starts anew.
      ema_decay: decay of the averaged weights used for evaluation; None evaluates the weights.
      trainable: regular expression; only parameters whose name it finds are trained.
      precision: of matrix products: "default", "high" or "highest".
      kernels: what computes convolutions and matrix products: "xla", "onednn" (one processor, with
        the extra `cpu`), or "auto", which takes oneDNN where it is there.
    """

    steps: int | None = None
    epochs: float | None = None
    seed: int = 0
    steps_per_dispatch: int | None = None
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    preprocessing: Preprocessing = DIGITS_PREPROCESSING
    augmentation: Augmentation = Augmentation()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    regularization: RegularizationConfig = RegularizationConfig()
    init_from: str | None = None
    ema_decay: float | None = None
    trainable: str = ".*"
    precision: str = "default"
    kernels: str = "auto"
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    log: LogConfig = LogConfig()
    mesh: MeshConfig = MeshConfig()

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values; `from_json` is the inverse."""
        return plain(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "TrainConfig":
        """Rebuilds a configuration; fields left out take their defaults.

        `model.remat` may be a truth value, as runs recorded it when it knew blocks only, and
        `model.input_norm` null, when that stood for the id's own.

        Raises:
          ConfigError: naming every unknown field and every value of a wrong type.
        """
        if isinstance(model := values.get("model"), dict):
            values = {**values, "model": _updated(model)}
        return decode_dataclass(cls, values)

    def total_steps(self, num_examples: int) -> int:
        """Number of updates when the training data has `num_examples` examples."""
        if self.steps is not None:
            return self.steps
        return math.ceil((self.epochs or 0) * num_examples / self.data.batch_size)


def _updated(model: dict[str, Any]) -> dict[str, Any]:
    """The options of a model as they are written today."""
    model = dict(model)
    if isinstance(model.get("remat"), bool):
        model["remat"] = ("none", "blocks")[model["remat"]]
    if model.get("input_norm", "") is None:
        del model["input_norm"]
    return model
