"""The command `zoo`: parse, call one public function, print, and end with a telling exit code.

With `--json` the last line of standard output is one JSON value; all else goes to standard error.
Exit codes: 0 done, 1 a check found problems, 2 a mistake of the user's (one line says which),
5 no space left on a disk, 6 training became non-finite, 75 to be started again (stopped by SIGTERM
or --time-budget, or another process of the run is lost), 130 interrupted.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from zoo import processes
from zoo.cli import (
    actions,
    commands,
    data_commands,
    environment,
    evaluation,
    listing,
    planning,
    weights,
)
from zoo.cli.bench import Bench, bench
from zoo.cli.compare import Compare, compare
from zoo.cli.demo import Demo, demo
from zoo.cli.information import info
from zoo.cli.inspection import Inspect, inspect
from zoo.cli.interrupts import CODES, PromptEnd, TerminatedError, sentence
from zoo.cli.publish import Publish, publish
from zoo.cli.serving import Serve, serve
from zoo.cli.text import Output
from zoo.cli.usage import in_options, parse
from zoo.common.json_values import finite

__all__ = ["main"]

_ACTIONS = {
    "demo": (Demo, demo),
    "list": (commands.List, listing.list_ids),
    "info": (commands.Info, info),
    "inspect": (Inspect, inspect),
    "eval": (commands.Eval, evaluation.evaluate),
    "predict": (commands.Predict, evaluation.predict),
    "train": (commands.Command, actions.train),
    "compare": (Compare, compare),
    "bench": (Bench, bench),
    "plan": (commands.Command, planning.plan),
    "finetune": (commands.Finetune, actions.finetune),
    "download": (weights.Download, weights.download),
    "cache": (weights.Cache, weights.cache),
    "export": (weights.Export, weights.export),
    "publish": (Publish, publish),
    "push": (weights.Push, weights.push),
    "serve": (Serve, serve),
    "env": (commands.Env, environment.env),
    "version": (commands.Version, actions.version),
    "data": (data_commands.Data, data_commands.data),
}
_DESCRIPTION = """Deep networks without shortcuts or normalisation: load, evaluate, fine-tune.

$ zoo demo
$ zoo list --pretrained
$ zoo eval vanilla_resnet50_tat_lrelu.digits --data digits
$ zoo finetune vanilla_resnet50_tat_lrelu.digits --data folder:photos --workdir runs/mine
$ zoo predict runs/mine photos/*.jpg
"""
# Commands whose options are the fields of a configuration: how they are made, and their summary.
_CONFIGURED = {
    "train": (commands.train_command, commands.TrainSummary),
    "plan": (planning.plan_command, planning.PlanSummary),
}
# Commands that several processes run together.
_JOINT = ("train", "eval")
_USAGE = 2


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code.

    As one of several processes it runs in a child, and returns in that child too.

    Args:
      args: what follows `zoo`; None: those of this process, which a signal then ends promptly.
    """
    is_process, args = args is None, list(sys.argv[1:] if args is None else args)
    logging.basicConfig(format="zoo: %(message)s", level=logging.WARNING)
    try:
        launch = processes.read_launch() if _name(args) in _JOINT else None
    except ValueError as error:
        return _fail(error, _sentence(error), _USAGE, debug=False)
    if launch is not None:
        return processes.supervised(launch, functools.partial(_run, args))
    if not is_process:
        return _run(args, contextlib.nullcontext(True))
    with PromptEnd() as end:
        code = _run(args, contextlib.nullcontext(True), end)
        end.close(code)
        return code


def _run(
    args: list[str],
    together: contextlib.AbstractContextManager[bool],
    end: PromptEnd | None = None,
) -> int:
    """Runs one command; inside `together` it is one with other processes, and may say so."""
    if args[:1] == ["--version"]:
        args = ["version", *args[1:]]
    debug = bool({"-v", "--verbose"} & set(args)) or os.environ.get("ZOO_DEBUG") == "1"
    command = None
    try:
        name, command = _parse(args)
        with together as prints:
            with contextlib.redirect_stdout(sys.stderr):
                output = _ACTIONS[name][1](command)
            if prints:
                _print(output, as_json=command.json)
        return output.exit_code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        # The reader has what it wanted; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, TerminatedError) as error:
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        if end is not None and not debug:
            end.now(number)
        return _fail(error, sentence(number), CODES[number], debug)
    except Exception as error:
        code = getattr(error, "exit_code", None)
        if code is None and not isinstance(error, ValueError | OSError):
            raise
        told = _sentence(error)
        if isinstance(changes := getattr(error, "changes", None), dict):
            # What to change is said in the options of this command.
            told = f"{getattr(error, 'found', told)}; try {in_options(changes, type(command))}"
        return _fail(error, told, _USAGE if code is None else code, debug)


def _name(args: list[str]) -> str:
    return next((arg for arg in args if arg in _ACTIONS), "")


def _parse(args: list[str]) -> tuple[str, Any]:
    """The name of the command and its arguments.

    Raises:
      UsageError: in one line.
      SystemExit: after the help was printed.
    """
    name = _name(args)
    kinds = {key: kind for key, (kind, _) in _ACTIONS.items()}
    for key, (make, summary) in _CONFIGURED.items():
        kinds[key] = make(*_configuration(args)) if key == name else summary
    command = parse(kinds, name, args, prog="zoo", description=_DESCRIPTION)
    name = next(key for key, kind in kinds.items() if type(command) is kind)
    return name, command.action if isinstance(command, data_commands.Data) else command


def _configuration(args: list[str]) -> tuple[type, Any]:
    from zoo.recipes import load_recipe
    from zoo.training import TrainConfig, load_config

    arch, recipe = _value(args, "--model.arch"), _value(args, "--recipe")
    path = next((arg for arg in args if arg.endswith(".py")), None)
    if path is not None and recipe is not None:
        raise ValueError(f"give a configuration file or --recipe, not both: {path}, {recipe}")
    if recipe is not None:
        config = load_recipe(recipe, arch)
    else:
        config = TrainConfig() if path is None else load_config(path, arch)
    if arch is not None:  # it decides which other options there are
        config = dataclasses.replace(config, model=config.model.with_arch(arch))
    return TrainConfig, config


def _value(args: list[str], option: str) -> str | None:
    """What follows `option`, in the next word or behind an equals sign."""
    for word, following in zip(args, [*args[1:], None], strict=True):
        name, is_given, value = word.partition("=")
        if name == option:
            return value if is_given else following
    return None


def _print(output: Output, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(finite(output.value), allow_nan=False))
    else:
        print("\n".join(output.lines))
    sys.stdout.flush()


def _fail(error: BaseException, sentence: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"zoo: {sentence}", file=sys.stderr)
    return code


def _sentence(error: BaseException) -> str:
    """The message in one line; the lines of a list become its clauses.

    What comes from names of files and fields may hold commands to a terminal; it shows them.
    """
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    ends = [*(" " if line.endswith(":") else "; " for line in lines[:-1]), ""]
    text = "".join(map(str.__add__, lines, ends)) or type(error).__name__
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
