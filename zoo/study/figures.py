"""Figures of a study: training loss over steps, accuracy over depth."""

from collections.abc import Callable, Mapping, Sequence

from zoo.report import Figure, Panel, Series
from zoo.study.groups import Group

Place = Callable[[str], tuple[str, int]]
"""Key of a group -> label of its line, depth of its panel or point; 0 where it has none."""


def curve_figure(name: str, groups: Mapping[str, Group], place: Place) -> Figure | None:
    """Training loss over steps, a panel a depth: the mean over seeds; None where nothing ran.

    Args:
      name: of the study.
      groups: its runs by any key, in the order of the lines.
      place: of a key.
    """
    panels: dict[int, list[Series]] = {}
    for arch, group in groups.items():
        label, depth = place(arch)
        if means := group.mean_losses:
            x, y = zip(*means, strict=True)
            panels.setdefault(depth, []).append(Series(label, x, tuple(round(v, 4) for v in y)))
    if not panels:
        return None
    return Figure(
        name=f"{name}_curves",
        caption=f"{name}: training loss over steps, mean over seeds",
        x_label="step",
        y_label="training loss, nats",
        panels=tuple(
            Panel(f"depth {depth}" if depth else "", tuple(panels[depth]))
            for depth in sorted(panels)
        ),
    )


def depth_figure(
    name: str, groups: Mapping[str, Group], place: Place, order: Callable[[str], int]
) -> Figure | None:
    """Accuracy over depth, a line a label, bars of one standard error; None for one depth.

    Args:
      name: of the study.
      groups: its runs by any key.
      place: of a key.
      order: of a label.
    """
    points: dict[str, list[tuple[int, float, float]]] = {}
    for arch, group in groups.items():
        label, depth = place(arch)
        if group.top1 is not None:
            points.setdefault(label, []).append((depth, group.top1.mean, group.top1.error or 0.0))
    depths = sorted({depth for found in points.values() for depth, _, _ in found})
    if len(depths) < 2:
        return None
    series = [
        Series(label, *_columns(sorted(found)))
        for label, found in sorted(points.items(), key=lambda item: order(item[0]))
    ]
    return Figure(
        name=f"{name}_depth",
        caption=f"{name}: test accuracy over depth, mean and standard error over seeds",
        x_label="depth of the network",
        y_label="top-1, %",
        panels=(Panel("", tuple(series)),),
        ticks=tuple(map(float, depths)),
    )


def _columns(
    points: Sequence[tuple[int, float, float]],
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    x, y, error = zip(*points, strict=True)
    return tuple(map(float, x)), tuple(round(v, 4) for v in y), tuple(round(v, 4) for v in error)
