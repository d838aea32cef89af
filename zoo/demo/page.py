"""The demo's page: what the network is, what it answers, how it was trained, why it could be."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from zoo.demo import WEIGHT
from zoo.demo.running import Shown
from zoo.pretrained import find
from zoo.report import Figure, Panel, Section, Series, draw, page, picture
from zoo.shaping import EOC, c_map

_POINTS = 81


def render(shown: Shown) -> str:
    """The page as HTML."""
    manifest: Any = shown.model.manifest
    published, tuned = shown.published, shown.tuned
    depth, recipe = manifest.shaping["nonlinear_depth"], manifest.recipe
    sections = [
        Section(
            "What it is",
            f"{WEIGHT}: {depth} nonlinear layers in one chain, {manifest.params:,} parameters, no "
            f"shortcut, no normalisation. Top-1 on {published.data} {published.split}: "
            f"{published.top1:.2%} ({published.correct1} of {published.n}).",
        ),
        Section(
            "Predictions",
            f"Test images it has not seen; {shown.right} of {len(shown.pictures)} are right.",
            _answers(shown),
        ),
        Section(
            "Training",
            f"How it was made: {recipe['steps']:,} steps on {recipe['hardware']}.",
            _curve("training", find(WEIGHT)[1].folder / "log.jsonl"),
        ),
        Section(
            "Fine-tuning",
            f"A new head for the classes it takes for one another most often, "
            f"{', '.join(shown.classes)}; then all layers trained. Top-1 "
            f"{tuned.metrics['top1']:.2%} on {tuned.metrics['n']:g} test images.",
            _curve("finetuning", tuned.workdir / "metrics.jsonl"),
        ),
        Section(
            "Why a plain network this deep trains",
            f"Cosine between two inputs after {depth} layers, against the cosine before. With "
            "plain ReLU all inputs end up nearly parallel; the shaped activation keeps them apart.",
            _kernels(shown, depth),
        ),
    ]
    return page("Vanilla Zoo", sections)


def _answers(shown: Shown) -> str:
    captions = [
        f"{answer['class']} ({answer['probability']:.0%})"
        + ("" if answer["class"] == label else f", is {label}")
        for answer, label in zip(shown.predictions, shown.labels, strict=True)
    ]
    pairs = zip(shown.pictures, captions, strict=True)
    return "".join(picture(record.image, caption) for record, caption in pairs)


def _curve(name: str, log: Path) -> str:
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    training = [(line["step"], line["loss"]) for line in lines if "loss" in line]
    if not training:
        return "<p>The head alone was solved; there are no steps.</p>"
    x, y = zip(*training, strict=True)
    series = Series("training loss", tuple(map(float, x)), tuple(y))
    return _drawn(Figure(name, "Training loss", "step", "training loss", (Panel("", (series,)),)))


def _kernels(shown: Shown, depth: int) -> str:
    start = np.linspace(-1, 1, _POINTS)
    activation, series = shown.model.network.activations[0], []
    for name, phi in (
        (f"shaped {activation.phi}", activation),
        ("plain ReLU", EOC("relu").solve(depth)),
    ):
        cosine = start
        for _ in range(depth):
            cosine = np.clip(c_map(phi, cosine), -1, 1)
        series.append(Series(name, tuple(start.tolist()), tuple(cosine.tolist())))
    return _drawn(
        Figure(
            "kernels", f"Cosines before and after {depth} layers", "cosine of two inputs",
            f"cosine after {depth} layers", (Panel("", tuple(series)),),
        )
    )  # fmt: skip


def _drawn(figure: Figure) -> str:
    svg = draw(figure, [series.label for series in figure.panels[0].series])
    return svg[svg.index("<svg") :]
