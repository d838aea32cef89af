"""Charts as inline SVG: points in, text out."""

import html
from collections.abc import Sequence

_WIDTH, _HEIGHT, _MARGIN = 420, 240, 44
Points = Sequence[tuple[float, float]]


def line_chart(points: Points, *, x: str, y: str, top: float | None = None) -> str:
    """One line with dots, its axes from 0 to the largest value or `top`, named `x` and `y`."""
    right = max([px for px, _ in points] or [1]) or 1
    high = top or max([py for _, py in points] or [1]) or 1
    places = [_place(px / right, py / high) for px, py in points]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in places)
    line = f'<polyline points="{path}" fill="none" stroke="currentColor"/>{dots}'
    return _frame(line, x, y, f"{right:g}", f"{high:.3g}")


def reliability_diagram(bins: Sequence[tuple[float, float, int]]) -> str:
    """Bars of accuracy over confidence, against the diagonal of a calibrated model.

    Args:
      bins: (mean confidence, accuracy, examples) of each bin that has examples.
    """
    width = (_WIDTH - 2 * _MARGIN) / 15
    bars = ""
    for confidence, accuracy, count in bins:
        centre, height = _place(confidence, accuracy)
        bottom = _HEIGHT - _MARGIN
        bars += (
            f'<rect x="{centre - width / 2:.1f}" y="{height:.1f}" width="{width:.1f}" '
            f'height="{bottom - height:.1f}" fill-opacity="0.5"><title>confidence '
            f"{confidence:.3f}, accuracy {accuracy:.3f}, {count} examples</title></rect>"
        )
    (x1, y1), (x2, y2) = _place(0, 0), _place(1, 1)
    diagonal = f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="gray" stroke-dasharray="4"/>'
    return _frame(bars + diagonal, "confidence", "accuracy", "1", "1")


def _place(x: float, y: float) -> tuple[float, float]:
    return (
        _MARGIN + x * (_WIDTH - 2 * _MARGIN),
        _HEIGHT - _MARGIN - min(y, 1.0) * (_HEIGHT - 2 * _MARGIN),
    )


def _frame(content: str, x: str, y: str, right: str, top: str) -> str:
    (left, bottom), (end, high) = _place(0, 0), _place(1, 1)
    corner = f"{left},{high} {left},{bottom} {end},{bottom}"
    axes = f'<polyline points="{corner}" fill="none" stroke="gray"/>'
    words = (
        (left, bottom + 16, "0", "middle"), (end, bottom + 16, right, "middle"),
        ((left + end) / 2, bottom + 32, x, "middle"), (left - 6, bottom, "0", "end"),
        (left - 6, high + 4, top, "end"), (left, high - 10, y, "start"),
    )  # fmt: skip
    texts = "".join(
        f'<text x="{a}" y="{b}" text-anchor="{anchor}" stroke="none">{html.escape(text)}</text>'
        for a, b, text, anchor in words
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}">{axes}{content}{texts}</svg>'
