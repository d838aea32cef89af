"""`zoo compare`: networks trained alike, in one table and one page."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from zoo.cli.commands import Command
from zoo.cli.text import Output
from zoo.recipes import RECIPES

_RECIPE_OF = {"digits": "digits", "cifar10": "cifar10", "imagenet2012": "in1k"}
_ARCHS_HELP = "ids of networks"
_FAMILIES_HELP = "ids with a * in the place of the depth, one network per depth"
_DATA_HELP = f"{', '.join(_RECIPE_OF)}, with the recipe that is for it; or any, with --recipe"
_RECIPE_HELP = f"{', '.join(RECIPES)}, or a Python file with get_config(); None: the data's"
_RATES_HELP = (
    "learning rates to choose from, by the training loss of short trials; one is taken as it is, "
    "none leaves the recipe's"
)
_BUDGET_HELP = "save and stop after this long, such as 90s, 9m or 1h; the same command goes on"
_SWEEP_HELP = "a list of runs that comes with the package, in place of networks and settings"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare(Command):
    """Train networks alike and set them beside each other: one table, one page with curves.

    All runs of a seed see the same batches for the same number of steps. Run again, it trains what
    is missing; WORKDIR/index.html and results.json show what is there, and what is not.

    $ zoo compare --archs vanilla_resnet18_tat_lrelu resnet18 --steps 300 --workdir runs/mine
    $ zoo compare --families "vanilla_resnet*_tat_lrelu" "resnet*" --depths 50 101 --workdir runs/d
    $ zoo compare --archs resnet50 --optimizers sgd adamw --learning-rates 0.1 0.01 --workdir runs/o
    $ zoo compare --sweep digits --workdir runs/digits --budget 9m
    $ zoo compare --sweep digits --workdir runs/digits --list
    """

    workdir: Annotated[str, arg(help="folder of the runs and of the page")]
    archs: Annotated[tuple[str, ...], arg(help=_ARCHS_HELP)] = ()
    families: Annotated[tuple[str, ...], arg(help=_FAMILIES_HELP)] = ()
    depths: Annotated[tuple[int, ...], arg(help="of the families")] = ()
    data: Annotated[str | None, arg(help=_DATA_HELP)] = None
    recipe: Annotated[str | None, arg(help=_RECIPE_HELP)] = None
    optimizers: Annotated[tuple[str, ...], arg(help="none: the recipe's")] = ()
    learning_rates: Annotated[tuple[float, ...], arg(help=_RATES_HELP)] = ()
    seeds: Annotated[tuple[int, ...], arg(help="of weights and batches")] = (0, 1, 2)
    steps: Annotated[int | None, arg(help="of every run; None: the recipe's")] = None
    trial_steps: Annotated[int | None, arg(help="of a trial; None: half of the steps")] = None
    width: Annotated[float | None, arg(help="of every network; None: the recipe's")] = None
    sweep: Annotated[str | None, arg(help=_SWEEP_HELP)] = None
    data_dir: Annotated[str | None, arg(help="where the data set's files are")] = None
    budget: Annotated[str | None, arg(aliases=("--time-budget",), help=_BUDGET_HELP)] = None
    list: Annotated[bool, arg(help="train nothing: what is there, and the state of the rest")] = (
        False
    )


def compare(command: Compare) -> Output:
    """Trains what is missing, then the table and the page of what is there."""
    from zoo.common.words import table
    from zoo.study.page import render
    from zoo.study.table import HEADER, cells, make_row
    from zoo.training import RunStopped

    study, folder = _study(command), Path(command.workdir).expanduser().absolute()
    code = 0
    try:
        if not command.list:
            _train(command, study, folder)
    except RunStopped as stopped:
        print(f"zoo: {stopped}", file=sys.stderr)
        code = stopped.exit_code
    lines = study.lines(folder)
    rows = [make_row(line, folder) for line in lines]
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    page.write_text(render(study.name, lines, rows), encoding="utf-8")
    value = {"name": study.name, "rows": [row.to_json() for row in rows], "page": str(page)}
    states = [f"{name}: {state}" for row in rows for name, state in row.unfinished.items()]
    shown = [table(HEADER, [cells(row) for row in rows]), *states, f"page: {page}"]
    return Output(value, shown, code)


def _train(command: Compare, study: Any, folder: Path) -> None:
    import math

    from zoo.common.console import parse_duration
    from zoo.study import train

    left = math.inf if command.budget is None else parse_duration(command.budget)
    left = train(study.trials, folder, left, command.data_dir)
    train(study.runs(folder), folder, left, command.data_dir)


def _study(command: Compare) -> Any:
    from zoo.study import compare, find_sweep

    networks = _networks(command)
    if (command.sweep is None) == (not networks):
        raise ValueError("give --archs or --families, or else --sweep")
    if command.sweep is not None:
        return find_sweep(command.sweep)
    return compare(
        {arch: _config(command, arch) for arch in networks},
        optimizers=command.optimizers,
        rates=command.learning_rates,
        seeds=command.seeds,
        trial_steps=command.trial_steps,
    )


def _networks(command: Compare) -> list[str]:
    if bool(command.families) != bool(command.depths):
        raise ValueError("--families and --depths go together: a depth takes the place of the *")
    without = [family for family in command.families if "*" not in family]
    if without:
        raise ValueError(f"--families {without[0]} has no * for the depth; give it to --archs")
    grown = [family.replace("*", str(d)) for d in command.depths for family in command.families]
    return list(dict.fromkeys([*command.archs, *grown]))


def _config(command: Compare, arch: str) -> Any:
    from zoo.recipes import load_recipe
    from zoo.training import load_config, validate

    recipe = command.recipe or _RECIPE_OF.get(command.data or "digits")
    if recipe is None:
        raise ValueError(f"no recipe is for --data {command.data}; give --recipe, or a file")
    config = load_config(recipe, arch) if recipe.endswith(".py") else load_recipe(recipe, arch)
    model = config.model.with_arch(arch)
    if command.width is not None:
        model = model.with_options(width=command.width)
    changed: dict[str, Any] = {"model": model}
    if command.steps is not None:
        changed |= {"steps": command.steps, "epochs": None}
    if command.recipe is not None and command.data is not None:
        changed["data"] = dataclasses.replace(config.data, name=command.data)
    config = dataclasses.replace(config, **changed)
    validate(config)
    return config
