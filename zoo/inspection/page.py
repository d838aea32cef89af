"""An `InspectionReport` as one self-contained HTML page and as pictures."""

import dataclasses
import html
import importlib.util
import json
from pathlib import Path
from typing import Any

from zoo.inspection.report import Curve, InspectionReport

_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b")
_NORMS = ("weight", "gradient", "update")
_ROUNDING = 1e-6  # singular values below this share of the largest are zeros of float32
_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    ".verdict{background:#f2f4f8;padding:.5em 1em}"
)


class MissingPlotsError(ValueError):
    """The libraries that draw are not installed."""


@dataclasses.dataclass(frozen=True)
class _Line:
    name: str
    x: list[float]
    y: list[float | None]
    color: str
    error: list[float] | None = None
    dots: bool = False
    dashes: bool = False
    names: list[str] | None = None


@dataclasses.dataclass(frozen=True)
class _Plot:
    key: str
    title: str
    text: str
    x: str
    y: str
    lines: list[_Line]
    log: bool = False


def write_page(report: InspectionReport, folder: str | Path) -> Path:
    """Writes FOLDER/index.html, one PNG a plot and report.json; returns the page's path.

    The page holds its data and the plotting library: it needs no network.

    Raises:
      MissingPlotsError: if plotly is not installed.
    """
    require_plots()
    import plotly.io
    from plotly.offline import get_plotlyjs

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sections = []
    for plot in _plots(report):
        _png(plot, folder / f"{plot.key}.png")
        drawn = plotly.io.to_html(
            _figure(plot),
            config={"displaylogo": False},
            include_plotlyjs=False,
            full_html=False,
            div_id=plot.key,
        )
        sections.append(f"<h2>{html.escape(plot.title)}</h2><p>{html.escape(plot.text)}</p>{drawn}")
    (folder / "report.json").write_text(json.dumps(report.to_json()), encoding="utf-8")
    sentences = "".join(f"<p>{html.escape(one)}</p>" for one in report.verdict)
    page = folder / "index.html"
    page.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(report.name)}"
        f"</title><style>{_STYLE}</style><script>{get_plotlyjs()}</script>"
        f"<h1>{html.escape(report.name)}</h1><p>{html.escape(_about(report))}</p>"
        f"<div class=verdict>{sentences}</div>{''.join(sections)}</html>",
        encoding="utf-8",
    )
    return page


def require_plots() -> None:
    """Raises MissingPlotsError unless plotly is installed."""
    if importlib.util.find_spec("plotly") is None:
        raise MissingPlotsError(
            "plots need plotly; install: pip install 'flax-vanilla-zoo[inspect]'"
        )


def _about(report: InspectionReport) -> str:
    return (
        f"{report.depths[-1]} nonlinear layers, weights {report.weights}, {report.draws} draws, "
        f"input {' x '.join(map(str, report.shape))}. Lines are predictions for infinite width, "
        "dots measurements with one standard error over the draws. Depth counts nonlinear layers."
    )


def _plots(report: InspectionReport) -> list[_Plot]:
    plots = [*_kernel_plots(report), *_backward_plots(report)]
    return [plot for plot in plots if plot.lines]


def _kernel_plots(report: InspectionReport) -> list[_Plot]:
    depths = [float(d) for d in report.depths]
    cosines, c_maps = [], []
    for i, curve in enumerate(report.cosines):
        cosines += _curve_lines(f"from {curve.start:.2f}", depths, curve, _COLORS[i])
    for i, one in enumerate(report.c_maps):
        color = _COLORS[i % len(_COLORS)]
        c_maps.append(_Line(f"depth {one.depth}", one.start, list(one.predicted), color))
        at = report.depths.index(one.depth)
        starts = [curve.start for curve in report.cosines]
        means: list[float | None] = [curve.mean[at] for curve in report.cosines]
        errors = [curve.error[at] for curve in report.cosines if curve.error]
        c_maps.append(_Line(f"measured, {one.depth}", starts, means, color, errors or None, True))
    return [
        _Plot(
            "cosines", "Cosines by depth", "Of pairs of inputs, predicted and measured.",
            "nonlinear layers", "cosine", cosines,
        ),
        _Plot(
            "q", "q values by depth", "Mean square of the signals that layers read.",
            "nonlinear layers", "q", _curve_lines("q", depths, report.q, _COLORS[0]),
        ),
        _Plot(
            "c_maps", "C map of the network", "Cosine at a depth against the cosine of the inputs.",
            "cosine of the inputs", "cosine", c_maps,
        ),
    ]  # fmt: skip


def _backward_plots(report: InspectionReport) -> list[_Plot]:
    layers = [float(i) for i in range(len(report.layers))]
    names = [one.name for one in report.layers]
    norms = [(key, [getattr(one, key) for one in report.layers]) for key in _NORMS]
    signals = [float(i) for i in range(len(report.activation_rms))]
    return [
        _Plot(
            "signals", "Activations and gradients by place", f"Root mean squares, {report.batch}.",
            "affine layer", "root mean square",
            [
                _Line("activation", signals, list(report.activation_rms), _COLORS[0]),
                _Line("gradient", signals, list(report.gradient_rms), _COLORS[1]),
            ],
            log=True,
        ),
        _Plot(
            "layers", "Weights, gradients and updates by layer",
            "Update: relative change of a weight per unit learning rate of gradient descent.",
            "weight", "root mean square",
            [
                _Line(key, layers, values, color, names=names)
                for (key, values), color in zip(norms, _COLORS, strict=False)
            ],
            log=True,
        ),
        _Plot(
            "spectra", "Singular values of Jacobians",
            f"First draw, times sqrt(inputs / outputs), without zeros. {_slopes(report)} The mean "
            "square is heavy-tailed over draws, more so the larger the sum of 1 / width, here "
            f"{report.depth_over_width:.2f}: few draws tend to fall below its mean.",
            "index", "singular value",
            [
                _Line(one.name, [float(k) for k in range(len(one.values[0]))],
                      _nonzero(one.values[0]), _COLORS[i], dots=True)
                for i, one in enumerate(report.spectra)
            ],
            log=True,
        ),
    ]  # fmt: skip


def _nonzero(values: list[float]) -> list[float | None]:
    return [one if one > _ROUNDING * max(values) else None for one in values]


def _slopes(report: InspectionReport) -> str:
    parts = []
    for one in report.spectra:
        error = "" if one.error is None else f" ± {one.error:.2g}"
        known = "" if one.predicted is None else f" (predicted C'(1) = {one.predicted:.4g})"
        parts.append(f"{one.name}: mean square {one.mean_square:.4g}{error}{known}")
    return "; ".join(parts) + "."


def _curve_lines(name: str, depths: list[float], curve: Curve, color: str) -> list[_Line]:
    lines = [_Line(f"{name}, measured", depths, list(curve.mean), color, curve.error, True)]
    if any(one is not None for one in curve.predicted):
        lines.insert(0, _Line(f"{name}, predicted", depths, curve.predicted, color))
    if curve.trained is not None:
        label = f"{name}, these weights"
        lines.append(_Line(label, depths, list(curve.trained), color, dashes=True))
    return lines


def _figure(plot: _Plot) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for line in plot.lines:
        bars = {"type": "data", "array": line.error} if line.error else None
        mode = "markers" if line.dots else "lines"
        figure.add_scatter(
            x=line.x,
            y=line.y,
            name=line.name,
            mode=mode,
            error_y=bars,
            line={"color": line.color, "dash": "dot" if line.dashes else "solid"},
            text=line.names,
        )
    figure.update_layout(
        xaxis_title=plot.x,
        yaxis_title=plot.y,
        height=420,
        margin={"t": 20, "b": 40},
        template="plotly_white",
    )
    if plot.log:
        figure.update_yaxes(type="log", exponentformat="power")
    return figure


def _png(plot: _Plot, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    for line in plot.lines:
        y = [float("nan") if one is None else one for one in line.y]
        form = "." if line.dots else ":" if line.dashes else "-"
        axes.errorbar(line.x, y, line.error, fmt=form, color=line.color, label=line.name)
    axes.set(title=plot.title, xlabel=plot.x, ylabel=plot.y)
    axes.set_yscale("log" if plot.log else "linear")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120, bbox_inches="tight")
