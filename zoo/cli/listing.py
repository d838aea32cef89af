"""`zoo list`: the ids of models and of published weights."""

from typing import Any

from zoo.cli import commands
from zoo.cli.text import Output, accuracies, aligned
from zoo.common.console import byte_count

_WEIGHT_COLUMNS = ("id", "parameters", "size", "input", "accuracy", "without a tag")


def list_ids(command: commands.List) -> Output:
    """Ids of models with the tags of their weights, or published weights."""
    is_pattern = any(mark in command.pattern for mark in "*?[")
    pattern = command.pattern if is_pattern else f"*{command.pattern}*"
    from zoo.pretrained.index import list_pretrained, read_index

    index = read_index()
    if command.pretrained:
        ids = list_pretrained(pattern)
        lines = aligned(_WEIGHT_COLUMNS, [_weight_row(id, index[id]) for id in ids], right=(1, 2))
    else:
        from zoo.models import list_models

        ids = list_models(pattern)
        tags: dict[str, list[str]] = {}
        for id in index:
            arch, _, tag = id.partition(".")
            tags.setdefault(arch, []).append(f".{tag}")
        lines = aligned(("id", "weights"), [(id, " ".join(tags.get(id, ()))) for id in ids])
    if not ids:
        what = "published weight" if command.pretrained else "model"
        all_of = "zoo list --pretrained" if command.pretrained else "zoo list"
        lines = [f"no {what} matches {command.pattern!r}; all: {all_of}"]
    return Output(ids, lines)


def _weight_row(id: str, entry: Any) -> tuple[str, ...]:
    about = entry.about
    return (
        id,
        f"{about['params']:,}" if "params" in about else "",
        byte_count(about["bytes"]) if "bytes" in about else "",
        " x ".join(map(str, about.get("input_size", ()))),
        accuracies(entry.metrics),
        "default" if entry.is_default else "",
    )
