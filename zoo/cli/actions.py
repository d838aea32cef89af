"""What the commands do: each calls one public function and says the same twice, as JSON and text.

Every function imports what it needs itself, so that `zoo list` does not pay for training.
"""

import dataclasses
from typing import Any

from zoo.cli import commands
from zoo.cli.text import Output, accuracies
from zoo.common.console import Working, parse_duration


def train(command: Any) -> Output:
    """Training from a configuration."""
    with Working("starting"):
        from zoo.training import fit
        from zoo.training.examples import evaluation_command
        from zoo.training.validation import check_preprocessing

    commands.require_configuration(command)
    settings = command.settings
    if command.start is not None:
        settings = dataclasses.replace(settings, init_from=command.start)
    check_preprocessing(settings)
    result = fit(
        settings,
        command.workdir,
        resume=command.resume,
        time_budget=None if command.time_budget is None else parse_duration(command.time_budget),
        allow_config_change=command.allow_config_change,
        allow_data_change=command.allow_data_change,
    )
    config = command.settings
    value = {"workdir": str(result.run_dir), "step": result.step, "metrics": result.metrics}
    line = _trained_line(value, f"{config.data.name} {config.eval.split}")
    again = evaluation_command(result.run_dir, config, config.eval.split)
    return Output(value, [line, f"evaluate: {again}"])


def finetune(command: commands.Finetune) -> Output:
    """Training of a pretrained network on new classes."""
    with Working(f"loading {command.model}"):
        from zoo.data import open_source
        from zoo.finetuning import finetune
        from zoo.finetuning.plan import splits_of
        from zoo.pretrained import load_pretrained

        # What is wrong with the data is said before a model is loaded for it.
        open_source(command.data, splits_of(command.data).train, data_dir=command.data_dir)
        channels, size = command.in_channels, command.image_size
        model = load_pretrained(command.model, in_channels=channels, image_size=size)
    result = finetune(
        model,
        command.data,
        workdir=command.workdir,
        classes=command.classes,
        data_dir=command.data_dir,
        **dataclasses.asdict(command.options),
    )
    value = result.to_json()
    measured = f"{command.data} {value['splits']['measure']}"
    lines = [_trained_line(value, measured), *value["commands"], f"report: {value['report']}"]
    return Output(value, lines)


def version(command: commands.Version) -> Output:
    """The version of this program."""
    from zoo import __version__

    return Output({"version": __version__}, [f"zoo {__version__}"])


def _trained_line(value: dict[str, Any], name: str) -> str:
    measured = accuracies({name: value["metrics"]}) or "not evaluated"
    return f"step {value['step']} in {value['workdir']}: {measured}"
