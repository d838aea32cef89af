"""Loads the published digits network, evaluates, fine-tunes and predicts with it, and reports.

usage: python tools/demo.py [--out demo] [--steps 400]

Writes OUT/report.html, one page with its pictures inside.
"""

import argparse
import base64
import html
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rich.table import Table

import zoo
from zoo.classifier import Classifier
from zoo.pretrained import find
from zoo.shaping import EOC, c_map

WEIGHT = "vanilla_resnet50_tat_lrelu.digits"
CLASSES = ("3", "5", "8", "9")  # the four digits that are most easily taken for one another
SHOWN = 12


def main() -> None:
    """Runs the whole job and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder of the report")
    parser.add_argument("--steps", type=int, default=400, help="fine-tuning steps")
    args = parser.parse_args()
    console = Console()

    console.print(f"Loading {WEIGHT}")
    model = zoo.load_pretrained(WEIGHT)
    console.print("Evaluating it on the digits test split")
    published = zoo.evaluate(model, "digits", progress=True)

    console.print(f"Fine-tuning it on the classes {', '.join(CLASSES)}, {args.steps} steps")
    workdir = args.out / "finetuned"
    shutil.rmtree(workdir, ignore_errors=True)
    tuned = zoo.finetune(model, "digits", classes=CLASSES, workdir=workdir, steps=args.steps)

    files = _write_examples(args.out / "images")
    predictions = zoo.predict(model, files)
    report = args.out / "report.html"
    report.write_text(_page(model, published, tuned, predictions), encoding="utf-8")

    table = Table("job", "data", "top-1", "n")
    table.add_row("evaluate", "digits test", f"{published.top1:.2%}", str(published.n))
    measured = tuned.metrics
    table.add_row(
        "fine-tune", f"digits {' '.join(CLASSES)}", f"{measured['top1']:.2%}", f"{measured['n']:g}"
    )
    right = sum(p["class"] == _label(p["file"]) for p in predictions)
    table.add_row("predict", "test images", f"{right / len(files):.2%}", str(len(files)))
    console.print(table)
    console.print(f"Report: {report}")


def _write_examples(folder: Path) -> list[Path]:
    """Saves the first test digits as image files named by their label, as a user would have."""
    folder.mkdir(parents=True, exist_ok=True)
    source = zoo.open_source("digits", "test")
    files = []
    for index in range(SHOWN):
        record = source[index]
        file = folder / f"{index:02d}_is_{source.classes[record.label]}.png"
        Image.fromarray(record.image[..., 0]).save(file)
        files.append(file)
    return files


def _label(file: str) -> str:
    return Path(file).stem.rsplit("_", 1)[1]


def _page(model: Classifier, published: Any, tuned: Any, predictions: list[dict[str, Any]]) -> str:
    manifest: Any = model.manifest
    depth, recipe = manifest.shaping["nonlinear_depth"], manifest.recipe
    sections = [
        (
            "What it is",
            f"{WEIGHT}: {depth} nonlinear layers in one chain, {manifest.params:,} parameters"
            f", no shortcut, no normalisation. Top-1 on the digits test split: {published.top1:.2%}"
            f" ({published.correct1} of {published.n}).",
            "",
        ),
        ("Predictions", "Test images it has not seen.", _png(_predictions(predictions))),
        (
            "Training",
            f"How it was made: {recipe['steps']:,} steps on {recipe['hardware']}.",
            _png(_curve(find(WEIGHT)[1].folder / "log.jsonl")),
        ),
        (
            "Fine-tuning",
            f"A new head for the digits {', '.join(CLASSES)}; all layers trained. Top-1 "
            f"{tuned.metrics['top1']:.2%} on {tuned.metrics['n']:g} test images.",
            _png(_curve(tuned.workdir / "metrics.jsonl")),
        ),
        (
            "Why a plain network this deep trains",
            f"Cosine between two inputs after {depth} layers, against the cosine before. With "
            "plain ReLU all inputs end up nearly parallel; the shaped activation keeps them apart.",
            _png(_kernels(model, depth)),
        ),
    ]
    body = "".join(
        f"<h2>{html.escape(title)}</h2><p>{html.escape(text)}</p>{picture}"
        for title, text, picture in sections
    )
    style = "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto}img{max-width:100%}"
    return (
        f"<!doctype html><meta charset=utf-8><title>Vanilla Zoo demo</title><style>{style}</style>"
        f"<h1>Vanilla Zoo</h1>{body}"
    )


def _predictions(predictions: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(9, 3.4))
    for axes, answer in zip(figure.subplots(2, SHOWN // 2).flat, predictions, strict=True):
        axes.imshow(Image.open(answer["file"]), cmap="gray")
        axes.set_axis_off()
        right = answer["class"] == _label(answer["file"])
        title = f"{answer['class']} ({answer['probability']:.0%})"
        axes.set_title(title, color="black" if right else "red")
    return figure


def _curve(log: Path) -> Figure:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    training = [line for line in lines if "loss" in line]
    figure = Figure(figsize=(7, 3))
    axes = figure.subplots()
    axes.plot([line["step"] for line in training], [line["loss"] for line in training], "o-")
    axes.set(xlabel="step", ylabel="training loss")
    return figure


def _kernels(model: Classifier, depth: int) -> Figure:
    start = np.linspace(-1, 1, 81)
    figure = Figure(figsize=(7, 3.6))
    axes = figure.subplots()
    for name, activation in (
        (f"shaped {model.network.activations[0].phi}", model.network.activations[0]),
        ("plain ReLU", EOC("relu").solve(depth)),
    ):
        cosine = start
        for _ in range(depth):
            cosine = np.clip(c_map(activation, cosine), -1, 1)
        axes.plot(start, cosine, label=name)
    axes.set(xlabel="cosine of two inputs", ylabel=f"cosine after {depth} layers")
    axes.legend()
    return figure


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    return f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


if __name__ == "__main__":
    main()
