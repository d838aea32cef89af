"""What a published weight is measured on, how, and by which command again."""

from collections.abc import Mapping
from typing import Any

import jax

from zoo.classifier import Classifier
from zoo.data import Source, limit, open_source, subset
from zoo.data.address import parse_data
from zoo.evaluation import EvalResult, evaluate

DATA_TERMS = {
    "digits": "data: handwritten digits of scikit-learn (UCI, Alpaydin and Kaynak 1998), CC BY 4.0",
    "cifar10": "data: CIFAR-10 (Krizhevsky 2009), no explicit licence; research use",
    "cifar100": "data: CIFAR-100 (Krizhevsky 2009), no explicit licence; research use",
    "tiny-imagenet-64": "data: Tiny-ImageNet (Stanford CS231n 2015), images of ImageNet at 64 "
    "pixels; ImageNet's terms: non-commercial research and education only",
}


def open_split(config: Mapping[str, Any], data_dir: str | None = None) -> Source:
    """The examples a published metric counts; `data_dir` None takes what `config` says.

    A run that chose its best step by `holdout` is measured on test, which chose nothing.
    """
    data, settings = config["data"], config["eval"]
    source = open_source(data["name"], _measured(config), data_dir=data_dir or data["data_dir"])
    source = subset(source, data["classes"]) if data["classes"] else source
    return limit(source, settings["limit"]) if settings["limit"] else source


def measure(model: Classifier, source: Source, *, keep_logits: bool = False) -> EvalResult:
    """Accuracy on one device at the highest precision."""
    devices = jax.local_devices()[:1]
    return evaluate(model, source, devices=devices, keep_logits=keep_logits, progress=True)


def metric_entry(result: EvalResult, command: str, commit: str) -> dict[str, Any]:
    """What was measured, and how, as JSON values."""
    measured = {k: v for k, v in result.to_json().items() if k not in ("preprocess", "versions")}
    return {**measured, "command": command, "commit": commit}


def evaluation_command(id: str, config: Mapping[str, Any]) -> str:
    """The command that measures a published weight again."""
    data, split_name = config["data"], _measured(config)
    command = f"zoo eval {id} --data {data['name']}"
    if parse_data(data["name"]).takes_data_dir:
        command += " --data-dir DIR"
    command += f" --classes {' '.join(data['classes'])}" if data["classes"] else ""
    return f"{command}{'' if split_name == 'test' else f' --split {split_name}'} --json"


def data_terms(config: Mapping[str, Any]) -> str:
    """Terms of the data a run was trained on.

    Raises:
      ValueError: if they are not known here.
    """
    name = config["data"]["name"]
    terms = DATA_TERMS.get(parse_data(name).placeless.name)
    if terms is None:
        raise ValueError(f"the terms of {name} are not known here; give --data-terms")
    return terms


def _measured(config: Mapping[str, Any]) -> str:
    chosen_by = config["eval"]["split"]
    return "test" if chosen_by == "holdout" else chosen_by
