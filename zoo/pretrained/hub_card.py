"""The head of a card as hubs read it: YAML that says what the weight is, made of and measured by.

Values are written as JSON, which is YAML that needs no thought about quoting.
"""

import json
from typing import Any

from zoo.pretrained.manifest import Manifest

# Our names of data sets -> the hub's.
_DATA_SETS = {
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "imagenet2012": "ILSVRC/imagenet-1k",
    "folder": "imagefolder",
    "csv": "imagefolder",
}


def hub_head(manifest: Manifest) -> list[str]:
    """Lines of the head: base_model, datasets and model-index, of what is known."""
    lines = []
    base = manifest.recipe.get("finetuning", {}).get("weight", {}).get("name")
    if base:
        name = base.removeprefix("hf:").partition("@")[0] if base.startswith("hf:") else base
        lines += [f"base_model: {json.dumps(name)}", "base_model_relation: finetune"]
    sets = list(dict.fromkeys(map(_data_set, manifest.metrics)))
    if sets:
        lines.append(f"datasets: {json.dumps(sets)}")
    if manifest.metrics:
        lines += ["model-index:", f"- name: {json.dumps(manifest.id)}", "  results:"]
    for name, measured in manifest.metrics.items():
        lines += _result(name, measured)
    return lines


def _result(name: str, measured: dict[str, Any]) -> list[str]:
    plain, _, split = name.partition(" ")
    split = measured.get("split", split or "test")
    named = {
        "accuracy": ("top-1", measured["top1"]),
        "top_5_accuracy": ("top-5", measured["top5"]),
        "balanced_accuracy": ("balanced accuracy", measured.get("balanced_accuracy")),
        "loss": ("cross-entropy", measured["loss"]),
    }
    lines = [
        "  - task: {type: image-classification, name: Image Classification}",
        f"    dataset: {json.dumps({'name': plain, 'type': _data_set(plain), 'split': split})}",
        "    metrics:",
    ]
    for kind, (title, value) in named.items():
        if value is not None:
            entry = {"type": kind, "name": f"{title} (n = {measured['n']})", "value": value}
            lines.append(f"    - {json.dumps(entry)}")
    return lines


def _data_set(name: str) -> str:
    plain = name.partition(" ")[0]
    return _DATA_SETS.get(plain.partition(":")[0], plain)
