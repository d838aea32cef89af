"""`zoo info`: what is known about a published weight, an architecture or a run."""

from typing import Any

from zoo.cli import commands
from zoo.cli.text import Output, accuracies, fields


def info(command: commands.Info) -> Output:
    """Everything known about what an address means, without running it."""
    from zoo.pretrained.address import Listed, Run, parse_address
    from zoo.pretrained.index import read_index
    from zoo.pretrained.sources import manifest_at

    address = parse_address(command.id)
    if isinstance(address, Run):
        value = _of_run(str(address.path))
    elif isinstance(address, Listed) and address.tag is None:
        weights = {id: entry for id, entry in read_index().items() if id.startswith(f"{address}.")}
        default = next((id for id, entry in weights.items() if entry.is_default), None)
        value = {**_of_architecture(str(address)), "weights": list(weights), "default": default}
    else:
        value = _of_manifest(manifest_at(address))
    return Output(value, _info_lines(value))


def _of_manifest(manifest: Any) -> dict[str, Any]:
    import json

    return {**json.loads(manifest.to_json()), "bytes": manifest.num_bytes}


def _of_architecture(name: str) -> dict[str, Any]:
    import dataclasses

    from zoo.complexity import count_macs, count_params
    from zoo.models import create_model, variant_of
    from zoo.pretrained.writing import shaping_record

    model = create_model(name, abstract=True)
    size = (model.config.image_size, model.config.image_size, model.config.in_channels)
    return {
        "id": name,
        "arch": name,
        "params": count_params(model),
        "macs": count_macs(model, size),
        "input_size": list(size),
        "activation": dataclasses.asdict(model.activations[0]),
        "shaping": shaping_record(model, variant_of(name).shaping),
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
        named = [f"{id} (default)" * (id == value["default"]) or id for id in value["weights"]]
        lines.append(f"  weights     {', '.join(named) or 'none published'}")
    if "bytes" in value:
        lines.append(f"  files       {len(value['files'])}, {value['bytes']:,} bytes")
    return lines
