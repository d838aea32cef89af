"""The commands as frozen dataclasses: what can be typed, with its help."""

import dataclasses
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from zoo.data.address import GRAMMAR as _DATA_HELP
from zoo.finetuning.options import FinetuneOptions
from zoo.pretrained.address import GRAMMAR as _MODEL_HELP
from zoo.recipes import RECIPES

_RESUME_HELP = "auto: go on or start; required: only go on; never: only start"
_FROM_HELP = "weight or run to start from: its parameters and its solved activation"
_RECIPE_HELP = f"in place of a file: {', '.join(RECIPES)}"
_CHANGE_HELP = "go on although the configuration differs from the run's"
_BUDGET_HELP = "save and stop after this long, such as 90s, 9m or 1h; the same command goes on"
_TRAIN_HELP = """Train a model by a recipe, or from a configuration file of your own.

$ zoo train --recipe digits --workdir runs/digits
$ zoo train --recipe digits --model.arch resnet50 --workdir runs/baseline --steps 100
$ zoo train --recipe in1k --workdir runs/in1k --data.data-dir /data/in1k --time-budget 9m
$ zoo train my_config.py --workdir runs/mine
"""
_SIZE_HELP = "side in pixels to which images are brought; None: the weight's"
_EVAL_BATCH_HELP = "examples per step over all devices; halved while they run out of memory"
_MODELS_HELP = "in place of one model: every published weight that this shell pattern matches"
_CHECK_HELP = "compute what JAX is known to get wrong on processors; exit code 1 if it does"
_BAD_HELP = "skip leaves out images that cannot be read, counts and lists them"
_STEP_HELP = 'of a training run: a step, "best", or the newest when left out'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
    """What every command understands."""

    json: Annotated[bool, arg(help="print one JSON value as the last line of stdout")] = False
    verbose: Annotated[bool, arg(aliases=("-v",), help="show the traceback of an error")] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class List(Command):
    """Ids of models with the tags of their weights; or weights with size, input and accuracy.

    $ zoo list
    $ zoo list "vanilla*_tat_*"
    $ zoo list --pretrained
    """

    pattern: Annotated[Positional[str], arg(help="shell pattern or part of an id")] = "*"
    pretrained: Annotated[bool, arg(help="published weights instead of models")] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Info(Command):
    """Size, shaping, preprocessing, classes and measured accuracy of one id.

    $ zoo info vanilla_resnet50_tat_lrelu
    $ zoo info vanilla_resnet50_tat_lrelu.digits --json
    """

    id: Annotated[Positional[str], arg(help=f"arch, {_MODEL_HELP}")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval(Command):
    """Top-1, top-5 and loss over every example of a split, exactly once each.

    $ zoo eval vanilla_resnet50_tat_lrelu.digits --data digits
    $ zoo eval runs/mine --data folder:photos --split val --json
    $ zoo eval runs/mine --data imagenet2012 --data-dir /data/in1k --csv results.csv
    $ zoo eval --models "vanilla*" --data digits --csv results.csv
    """

    model: Annotated[Positional[str | None], arg(help=_MODEL_HELP)] = None
    models: Annotated[str | None, arg(help=_MODELS_HELP)] = None
    data: Annotated[str, arg(help=_DATA_HELP)]
    data_dir: Annotated[str | None, arg(help="where the data set's files are")] = None
    split: Annotated[str, arg(help="train, val or test")] = "test"
    batch_size: Annotated[int, arg(help=_EVAL_BATCH_HELP)] = 256
    precision: Annotated[str, arg(help="of matrix products: highest, high or default")] = "highest"
    classes: Annotated[tuple[str, ...], arg(help="use only these classes of the data")] = ()
    image_size: Annotated[int | None, arg(help=_SIZE_HELP)] = None
    step: Annotated[str | None, arg(help=_STEP_HELP)] = None
    csv: Annotated[str | None, arg(help="append the result as a row to this file")] = None
    per_class: Annotated[str | None, arg(help="write the accuracy of each class, CSV")] = None
    logits: Annotated[str | None, arg(help="write the logits of every image, FILE.npz")] = None
    bad_examples: Annotated[Literal["error", "skip"], arg(help=_BAD_HELP)] = "error"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict(Command):
    """The most probable classes of image files.

    $ zoo predict vanilla_resnet50_tat_lrelu.digits three.png
    $ zoo predict runs/mine photos --top 1 --json
    """

    model: Annotated[Positional[str], arg(help=_MODEL_HELP)]
    files: Annotated[Positional[tuple[str, ...]], arg(help="image files, or folders of them")]
    top: Annotated[int, arg(help="classes per image")] = 5
    image_size: Annotated[int | None, arg(help=_SIZE_HELP)] = None
    step: Annotated[str | None, arg(help=_STEP_HELP)] = None
    bad_examples: Annotated[Literal["error", "skip"], arg(help=_BAD_HELP)] = "error"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finetune(Command):
    """Train a published network on new classes; preprocessing is kept, the head replaced.

    $ zoo finetune vanilla_resnet50_tat_lrelu.digits --data folder:photos --workdir runs/mine
    $ zoo finetune vanilla_resnet50_tat_lrelu.digits --data digits --workdir w --train last:3
    $ zoo eval runs/mine --data folder:photos
    """

    model: Annotated[Positional[str], arg(help=_MODEL_HELP)]
    data: Annotated[str, arg(help=_DATA_HELP)]
    workdir: Annotated[str, arg(help="directory of the run; eval and predict accept it")]
    data_dir: Annotated[str | None, arg(help="where the data set's files are")] = None
    image_size: Annotated[int | None, arg(help=_SIZE_HELP)] = None
    in_channels: Annotated[Literal[1, 3] | None, arg(help="grey or RGB; None: the weight's")] = None
    classes: Annotated[tuple[str, ...], arg(help="use only these classes, in this order")] = ()
    options: Annotated[FinetuneOptions, arg(name="")] = FinetuneOptions()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Env(Command):
    """Versions, devices and variables that decide what runs here, and whether JAX is right.

    $ zoo env --json
    $ zoo env --check
    """

    check: Annotated[bool, arg(help=_CHECK_HELP)] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version(Command):
    """The version of this program; `zoo env` says all others.

    $ zoo --version
    """


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSummary(Command):
    """Train a model by a recipe or a configuration file: zoo train --help."""


CONFIGURATION: list[Any] = [
    ("config", Annotated[Positional[str | None], arg(help="Python file with get_config()")], None),
    ("recipe", Annotated[str | None, arg(help=_RECIPE_HELP)], None),
]
"""Where the configuration of a command comes from."""


def require_configuration(command: Any) -> None:
    """Refuses a command that names neither a recipe nor a configuration file."""
    if command.config is None and command.recipe is None:
        raise ValueError(
            f"give --recipe NAME ({', '.join(RECIPES)}), or a Python file that defines get_config()"
        )


def train_command(config_type: type, config: Any) -> type[Command]:
    """The command `train`, whose further options are the fields of a configuration.

    Args:
      config_type: the configuration's class.
      config: gives the defaults, those of the configuration file where it is known.
    """
    settings = Annotated[config_type, arg(name="")]
    fields: list[Any] = [
        *CONFIGURATION,
        ("workdir", Annotated[str, arg(help="run directory; a run that was stopped goes on")]),
        ("settings", settings, dataclasses.field(default=config)),
        ("resume", Annotated[Literal["auto", "required", "never"], arg(help=_RESUME_HELP)], "auto"),
        ("start", Annotated[str | None, arg(name="from", help=_FROM_HELP)], None),
        ("time_budget", Annotated[str | None, arg(help=_BUDGET_HELP)], None),
        ("allow_config_change", Annotated[bool, arg(help=_CHANGE_HELP)], False),
        ("allow_data_change", Annotated[bool, arg(help="the same for the data")], False),
    ]
    made = dataclasses.make_dataclass("Train", fields, bases=(Command,), frozen=True, kw_only=True)
    made.__doc__ = _TRAIN_HELP
    return made
