"""`zoo info`: what is known about a published weight, an architecture or a run."""

import os
from pathlib import Path
from typing import Any

from zoo.cli import commands
from zoo.cli.text import Output, accuracies, fields


def info(command: commands.Info) -> Output:
    """Everything known about an id, without running it."""
    from zoo.pretrained.index import UnknownWeightError, read_index
    from zoo.pretrained.manifest import read_manifest
    from zoo.pretrained.schema import is_id
    from zoo.pretrained.single_file import manifest_of_file
    from zoo.pretrained.sources import present, single_file

    name = command.id
    file = single_file(name)
    if file is not None:
        value = _of_manifest(manifest_of_file(file))
    elif name.startswith("dir:"):
        value = _of_manifest(read_manifest(Path(name.removeprefix("dir:")).expanduser()))
    elif is_id(name) and "." in name and not os.path.isdir(name):
        folder = present(name)
        if folder is None:
            raise UnknownWeightError(
                f"{name} is not on this machine; fetch it: zoo download {name}"
            )
        value = _of_manifest(read_manifest(folder))
    elif is_id(name) and not os.path.isdir(os.path.join(name, "checkpoints")):
        weights = [id for id in read_index() if id.partition(".")[0] == name]
        value = {**_of_architecture(name), "weights": weights}
    elif os.path.isdir(name):
        value = _of_run(name)
    else:
        raise UnknownWeightError(f"{name!r} is no id, file or directory; see: zoo list")
    return Output(value, _info_lines(value))


def _of_manifest(manifest: Any) -> dict[str, Any]:
    import json

    return {**json.loads(manifest.to_json()), "bytes": manifest.num_bytes}


def _of_architecture(name: str) -> dict[str, Any]:
    import dataclasses

    from zoo.complexity import count_macs, count_params
    from zoo.models import create_model
    from zoo.pretrained.writing import shaping_record

    model = create_model(name, abstract=True)
    size = (model.config.image_size, model.config.image_size, model.config.in_channels)
    return {
        "id": name,
        "arch": name,
        "params": count_params(model),
        "macs": count_macs(model, size),
        "input_size": list(size),
        "activation": dataclasses.asdict(model.activation),
        "shaping": shaping_record(model),
        "preprocess": None,
        "classes": [],
        "metrics": {},
        "files": {},
    }


def _of_run(path: str) -> dict[str, Any]:
    from zoo.checkpoint import read_record
    from zoo.pretrained import load_pretrained
    from zoo.pretrained.loading import served_step
    from zoo.pretrained.runs import run_metrics
    from zoo.pretrained.writing import describe

    record = read_record(path, served_step(path))
    described = describe(load_pretrained(path))
    described["classes"] = list(described["classes"])
    metrics = run_metrics(path, record)
    return {"id": path, **described, "step": record.step, "metrics": metrics, "files": {}}


def _info_lines(value: dict[str, Any]) -> list[str]:
    shaping = value["shaping"]
    lines = [
        value["id"],
        f"  parameters  {value['params']:,}",
        f"  macs        {value['macs']:,} at {' x '.join(map(str, value['input_size']))}",
        f"  activation  {fields(value['activation'])}",
    ]
    if shaping:
        lines.append(
            f"  shaping     {shaping['method']} {fields(shaping['targets'])}, "
            f"{shaping['nonlinear_depth']} nonlinear layers"
        )
    if value["preprocess"]:
        lines.append(f"  preprocess  {fields(value['preprocess'])}")
    if value["classes"]:
        shown = ", ".join(value["classes"][:10]) + (" ..." if len(value["classes"]) > 10 else "")
        lines.append(f"  classes     {len(value['classes'])}: {shown}")
    for data, measured in value["metrics"].items():
        lines.append(f"  {data:<11} {accuracies({'': measured}).strip()}")
    if "weights" in value:
        lines.append(f"  weights     {', '.join(value['weights']) or 'none published'}")
    if "bytes" in value:
        lines.append(f"  files       {len(value['files'])}, {value['bytes']:,} bytes")
    return lines
