"""The card of a published weight: its manifest, for people."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.common.words import table
from zoo.pretrained.hub_card import hub_head
from zoo.pretrained.manifest import Manifest


def render_card(manifest: Manifest, comparison: str = "", source: str | None = None) -> str:
    """`card.md`: every number comes from the manifest.

    Args:
      manifest: of the weight.
      comparison: Markdown that sets the weight beside others, for instance from `read_comparison`.
      source: under which name it is loaded; None: its id.
    """
    sections = [
        _head(manifest, for_hub=source is not None),
        f"# {manifest.id}\n\n{_summary(manifest)}",
        f"## Accuracy\n\n{_accuracy(manifest)}" if manifest.metrics else "",
        f"## Comparison\n\n{comparison.strip()}" if comparison.strip() else "",
        _finetuning(manifest),
        f"## Use\n\n{_use(source or manifest.id)}",
        f"## Training\n\n{_training(manifest)}",
        f"## Limits\n\n{_limits(manifest)}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def read_comparison(path: Path) -> str:
    """Markdown from a file: Markdown as it stands, or a JSON list of objects as a table.

    Raises:
      ValueError: if a JSON file is not a list of objects with the same keys.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".json":
        return text
    rows = json.loads(text)
    if not isinstance(rows, list) or not rows or any(set(row) != set(rows[0]) for row in rows):
        raise ValueError(f"{path}: give a JSON list of objects that have the same keys")
    return table(list(rows[0]), [[row[key] for key in rows[0]] for row in rows])


def _head(manifest: Manifest, *, for_hub: bool) -> str:
    lines = [
        f"license: {manifest.licence.lower()}",
        "library_name: flax-vanilla-zoo",
        "pipeline_tag: image-classification",
        "tags: [image-classification, flax, jax]",
    ]
    if for_hub:
        lines += hub_head(manifest)
    elif manifest.metrics:
        lines.append(f"datasets: [{', '.join(manifest.metrics)}]")
    return "\n".join(["---", *lines, "---"])


def _summary(manifest: Manifest) -> str:
    height, width, channels = manifest.input_size
    shaping = manifest.shaping
    how = "no shaping"
    if shaping is not None:
        targets = ", ".join(f"{name} = {value:g}" for name, value in shaping["targets"].items())
        how = (
            f"{shaping['method']} ({shaping['activation']}{', ' if targets else ''}{targets}) over "
            f"{shaping['nonlinear_depth']} nonlinear layers"
        )
    return (
        f"`{manifest.arch}`: {how}. {manifest.params:,} parameters, {manifest.macs:,} "
        f"multiply-accumulates at {height} x {width} x {channels}, {len(manifest.classes)} classes."
    )


def _accuracy(manifest: Manifest) -> str:
    rows = [
        [
            data,
            f"{100 * m['top1']:.2f} %",
            f"{100 * m['top5']:.2f} %",
            f"{m['loss']:.4f}",
            f"{m['correct1']} / {m['n']}",
            f"{m.get('device', '?')}, {m.get('precision', '?')}",
        ]
        for data, m in manifest.metrics.items()
    ]
    header = ["data", "top-1", "top-5", "loss", "correct / n", "device, precision"]
    commands = [m["command"] for m in manifest.metrics.values() if "command" in m]
    block = "\n".join(commands)
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    repeat = f"\n\nMeasured by\n\n```\n{block}\n```\n\nwith {versions}." if commands else ""
    return table(header, rows) + repeat


def _finetuning(manifest: Manifest) -> str:
    """What a fine-tuned network is made from, what it was compared with, and what it confuses."""
    about = manifest.recipe.get("finetuning")
    if about is None:
        return ""
    splits, base = about["splits"], about["baseline"]
    rows = [[f"logistic regression on {base['side']}-pixel pictures", *_row(base)]]
    for name in ("probe", "trained"):
        if about[name] is not None:
            title = {"probe": "linear probe", "trained": "fine-tuned"}[name]
            rows.append([title, *_row(about[name]["test"])])
    pairs = "".join(
        f"- {true} taken for {said}: {count} of {n}\n" for true, said, count, n in about["confused"]
    )
    header = ["", f"top-1 on {splits['measure']}", "correct / n", "balanced accuracy"]
    return (
        f"## Fine-tuning\n\nFrom `{about['weight']['name']}` (sha256 {about['weight']['sha256']}), "
        f"trained layers: {about['layers']}. Kept is {about['kept_network']}, the better on "
        f"{splits['choose']}.\n\n{table(header, rows)}\n\n"
        + (f"Most confused:\n\n{pairs}" if pairs else "No mistake.")
    ).rstrip()


def _row(measured: Mapping[str, Any]) -> list[str]:
    balanced = measured.get("balanced_accuracy")
    return [
        f"{100 * measured['top1']:.2f} %",
        f"{measured['correct1']} / {measured['n']}",
        "" if balanced is None else f"{100 * balanced:.2f} %",
    ]


def _use(source: str) -> str:
    return f"""```python
import zoo

model = zoo.load_pretrained("{source}")
zoo.predict(model, ["image.png"])
```

```
zoo predict {source} image.png
zoo finetune {source} --data folder:PATH --workdir DIR
```"""


def _training(manifest: Manifest) -> str:
    recipe = manifest.recipe
    lines = [f"{label}: {recipe[key]}" for key, label in _RECIPE.items() if recipe.get(key)]
    return "\n".join(f"- {line}" for line in [*lines, f"written {manifest.created}"])


_RECIPE = {
    "command": "command",
    "hardware": "hardware",
    "steps": "steps",
    "commit": "commit",
    "kernels": "kernels",
    "stored_as": "weights stored as",
    "evidence": "evidence in checkpoints/",
}


def _limits(manifest: Manifest) -> str:
    errors = [
        f"{data} {100 * m['standard_error']:.2f} %"
        for data, m in manifest.metrics.items()
        if "standard_error" in m
    ]
    lines = [
        _steps_told(manifest),
        f"standard error of top-1 over the choice of test images alone: {', '.join(errors)}"
        if errors
        else "",
        f"images must be like the training data after {_resize(manifest)}",
        manifest.data_terms,
    ]
    return "\n".join(f"- {line}" for line in lines if line)


def _steps_told(manifest: Manifest) -> str:
    """Which images chose the step, and whether they measured it too."""
    about = manifest.recipe.get("finetuning")
    if about is None:
        last = "one training run; its last step is published, not the best one on the test split"
        return last if manifest.recipe else ""
    choose, measure = about["splits"]["choose"], about["splits"]["measure"]
    told = f"one training run; {choose} chose its step and {measure} measured it"
    return told + (", the same images: it is a little too good" if choose == measure else "")


def _resize(manifest: Manifest) -> str:
    size = manifest.preprocess.get("image_size", manifest.input_size[:2])
    return f"resizing to {' x '.join(map(str, size))} pixels"
