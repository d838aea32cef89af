"""Charts of what one network answered: curves, calibration, confusions; image elements of HTML."""

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]
_OURS, _OTHER, _GREY = "#1f6feb", "#d1570a", "#777777"
_LONGEST_NAME = 18


def curves(
    training: Points, losses: Points, top1: Points, *, split: str, kept: int, smoothing: float
) -> str:
    """Losses in one frame and top-1 in another, by step.

    Args:
      training: (step, loss) of the training images, as they were changed and smoothed.
      losses, top1: (step, value) on the images that choose; step 0 is the linear probe.
      split: what the latter are called.
      kept: step of the network that is kept.
      smoothing: of the training targets.
    """
    figure = _figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    smoothed = f", targets smoothed by {smoothing:g}" if smoothing else ""
    left.plot(*_columns(training), color=_GREY, label=f"training{smoothed}")
    left.plot(*_columns(losses), "o-", color=_OURS, markersize=3, label=split)
    left.set(xlabel="step", ylabel="loss")
    right.plot(*_columns([(x, 100 * y) for x, y in top1]), "o-", color=_OURS, markersize=3)
    right.axhline(100 * top1[0][1], color=_GREY, linestyle="--", label="linear probe")
    right.set(xlabel="step", ylabel=f"top-1 on {split}, %")
    for axes in (left, right):
        axes.axvline(kept, color=_OTHER, linewidth=1, label=f"kept: step {kept}")
        axes.legend(frameon=False, fontsize=8)
    return _image(figure, f"Loss and top-1 on {split} by step; step {kept} is kept")


def reliability_diagram(bins: Sequence[tuple[float, float, int]]) -> str:
    """Bars of accuracy over confidence, against the diagonal of a calibrated model.

    Args:
      bins: (mean confidence, accuracy, examples) of each bin that has examples.
    """
    figure = _figure(4.4, 3.4)
    axes = figure.subplots()
    confidence, accuracy, counts = zip(*bins, strict=True)
    axes.bar(confidence, accuracy, width=1 / 15, color=_OURS, alpha=0.5, edgecolor=_OURS)
    for x, y, count in zip(confidence, accuracy, counts, strict=True):
        axes.annotate(str(count), (x, y), ha="center", va="bottom", fontsize=7, color="#333333")
    axes.plot([0, 1], [0, 1], "--", color=_GREY)
    axes.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="confidence", ylabel="accuracy")
    return _image(figure, "Accuracy by confidence, with the number of images above each bar")


def confusion_chart(matrix: np.ndarray, classes: Sequence[str]) -> str:
    """A square of shades: rows are true classes, columns predicted ones; a row adds up to 1."""
    side = min(11.0, 2 + 0.16 * len(classes))
    figure = _figure(side, side)
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…" for name in classes]
    size = max(3.0, min(8.0, 600 / len(classes) / 8))
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true")
    return _image(figure, "Share of each true class by predicted class")


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _image(figure: "Figure", text: str) -> str:
    import matplotlib

    buffer = io.BytesIO()
    # Text stays text, and the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        for axes in figure.axes:
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="chart" alt="{html.escape(text)}" src="data:image/svg+xml;base64,{data}">'
