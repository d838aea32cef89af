"""Line charts as SVG that says from which numbers it was drawn.

A figure is plain data; `digest` of it is written into the SVG, so that whether a picture is still
true can be told without drawing it.
"""

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Sequence

_COLUMNS = 2
_MARK = re.compile(r"drawn from sha256:([0-9a-f]{64})")


@dataclasses.dataclass(frozen=True)
class Series:
    """One line: its name, points, and half lengths of error bars where there are any."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    error: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    series: tuple[Series, ...]


@dataclasses.dataclass(frozen=True)
class Figure:
    """Panels that share their axis labels.

    Attributes:
      name: of the file, without its ending.
      caption: what it shows, in words.
      ticks: positions on the horizontal axis; empty leaves them to the library.
    """

    name: str
    caption: str
    x_label: str
    y_label: str
    panels: tuple[Panel, ...]
    ticks: tuple[float, ...] = ()


def digest(figure: Figure) -> str:
    """sha256 of the numbers and words of a figure."""
    text = json.dumps(dataclasses.asdict(figure), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_in(svg: str) -> str | None:
    """The digest that a drawn figure says it comes from."""
    found = _MARK.search(svg)
    return found.group(1) if found else None


def draw(figure: Figure, colours: Sequence[str]) -> str:
    """The figure as SVG text, the same bytes each time.

    Args:
      figure: what to draw.
      colours: names of all series of a page, in order, so that one has one colour everywhere.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    columns = min(_COLUMNS, len(figure.panels))
    rows = -(-len(figure.panels) // columns)
    settings = {"svg.hashsalt": figure.name, "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(settings):
        canvas = Canvas(figsize=(1.2 + 3.9 * columns, 0.6 + 2.6 * rows), layout="constrained")
        grid = canvas.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        cells = [axes for row in grid for axes in row]
        for axes, panel in zip(cells, figure.panels, strict=False):
            _draw_panel(axes, panel, figure, colours)
        for axes in cells[len(figure.panels) :]:
            axes.set_axis_off()
        handles = {h.get_label(): h for a in cells for h in a.get_legend_handles_labels()[0]}
        canvas.legend(
            handles=[handles[name] for name in sorted(handles, key=list(colours).index)],
            loc="outside lower center", ncols=2 * columns, frameon=False,
        )  # fmt: skip
        file = io.StringIO()
        description = f"{figure.caption} (drawn from sha256:{digest(figure)})"
        canvas.savefig(file, format="svg", metadata={"Date": None, "Description": description})
    return re.sub(r"[ \t]+\n", "\n", file.getvalue())


def _draw_panel(axes: object, panel: Panel, figure: Figure, colours: Sequence[str]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    for series in panel.series:
        axes.errorbar(
            series.x, series.y, yerr=series.error or None, label=series.label, linewidth=1.3,
            color=f"C{list(colours).index(series.label)}", capsize=3 if series.error else 0,
            marker="o" if series.error or len(series.x) == 1 else None, markersize=3.5,
        )  # fmt: skip
    axes.set(title=panel.title, xlabel=figure.x_label, ylabel=figure.y_label)
    axes.label_outer()
    axes.grid(alpha=0.3)
    if figure.ticks:
        axes.set_xticks(figure.ticks)
