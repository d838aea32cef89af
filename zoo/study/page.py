"""A study as one page: its table, curves, runs that are missing, and how it was made."""

from collections.abc import Sequence

from zoo.recipes.networks import depth_of
from zoo.report import Figure, Section, draw, page, table
from zoo.study.comparison import Line
from zoo.study.figures import curve_figure, depth_figure
from zoo.study.groups import Group
from zoo.study.table import HEADER, TARGET_SHARE, Row, cells


def render(title: str, lines: Sequence[Line], rows: Sequence[Row]) -> str:
    """The page as HTML.

    Args:
      title: of the page.
      lines: the contenders.
      rows: of the table, one per contender.
    """
    sections = [
        Section("Table", _explained(rows), table(HEADER, [cells(row) for row in rows])),
        Section("Curves", "", _curves(title, lines)),
        Section("Runs that are not over", "", _unfinished(rows)),
        Section("How it was made", _made(lines)),
    ]
    return page(title, [section for section in sections if section.text or section.body])


def _explained(rows: Sequence[Row]) -> str:
    targets = sorted({round(row.target_loss, 3) for row in rows if row.target_loss is not None})
    losses = " or ".join(f"{target:g}" for target in targets)
    reaching = (
        f" Steps to {TARGET_SHARE:.0%}: the first logged step since which the mean training loss "
        f"is at most {losses} nats, {TARGET_SHARE:.0%} of the way from guessing to the lowest loss "
        "the targets allow; in brackets how many of the runs get there."
        if targets
        else ""
    )
    return (
        "Top-1 is the mean over seeds ± its standard error, n the number of finished runs. All "
        "runs of a seed see the same batches for the same number of steps. Learning rates are "
        f"chosen by training loss; the test data chooses nothing.{reaching}"
    )


def _curves(title: str, lines: Sequence[Line]) -> str:
    groups = {
        str(i): Group(each.arch, each.optimizer, each.results) for i, each in enumerate(lines)
    }
    places = {
        str(i): (_label(each, lines), depth_of(each.arch) or 0) for i, each in enumerate(lines)
    }
    labels = list(dict.fromkeys(label for label, _ in places.values()))
    figures = (
        curve_figure(title, groups, places.__getitem__),
        depth_figure(title, groups, places.__getitem__, labels.index),
    )
    return "".join(_drawn(figure, labels) for figure in figures if figure is not None)


def _label(line: Line, lines: Sequence[Line]) -> str:
    """Its family, and what else tells it from the other lines of its depth."""
    label, depth = line.arch, depth_of(line.arch)
    if depth is not None:
        label = label.replace(str(depth), "*", 1)
    alike = [other for other in lines if other.arch == line.arch]
    if len({other.optimizer for other in alike}) > 1:
        label += f", {line.optimizer}"
    if len([other for other in alike if other.optimizer == line.optimizer]) > 1:
        label += f", {line.rate:g}"
    return label


def _drawn(figure: Figure, labels: Sequence[str]) -> str:
    svg = draw(figure, labels)
    return svg[svg.index("<svg") :]


def _unfinished(rows: Sequence[Row]) -> str:
    states = [[name, state] for row in rows for name, state in row.unfinished.items()]
    waiting = [[f"{r.arch}, {r.optimizer}", "its rate is not chosen yet"] for r in rows
               if r.rate is None]  # fmt: skip
    return table(["run", "state"], [*states, *waiting]) if states or waiting else ""


def _made(lines: Sequence[Line]) -> str:
    results = [result for line in lines for result in line.results]
    if not results:
        return ""
    versions = sorted({_versions(result.values["environment"]) for result in results})
    hardware = sorted({result.hardware for result in results})
    return f"On {'; '.join(hardware)}; {'; '.join(versions)}."


def _versions(environment: dict) -> str:
    commit = environment.get("commit") or "no commit"
    named = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return f"{named}, {commit[:12]}"
