"""Sections of docs/results.md about one matrix: tables in Markdown and the figures beside them."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from claims import reached, short
from evidence import Evidence
from figures import Figure, Panel, Series
from seeds import (
    METHODS,
    Estimate,
    Group,
    arch_parts,
    better_groups,
    chosen_rate,
    groups,
    peak_rate,
    rates_by_trials,
)

from zoo.common.words import natural_order, table

SHARES = (0.5, 0.9)
COLOURS = tuple(METHODS.values())


@dataclasses.dataclass(frozen=True)
class MatrixResults:
    """What is known of one matrix.

    Attributes:
      name: of the matrix.
      planned: (row, network) of every row it has.
      rows: evidence of those that have run.
    """

    name: str
    planned: tuple[tuple[str, str], ...]
    rows: tuple[Evidence, ...]

    @property
    def missing(self) -> list[str]:
        """Rows that have not run."""
        present = {row.key[1] for row in self.rows}
        return [name for name, _ in self.planned if name not in present]

    @property
    def better(self) -> dict[str, Group]:
        """Network -> runs with its better optimizer, by training loss."""
        return better_groups(self.rows)


def target_loss(row: Evidence, share: float) -> float:
    """Training loss that lies `share` of the way from guessing to the lowest there is.

    Guessing among K classes costs ln K nats; with label smoothing s the lowest loss is the entropy
    of the target, 1 - s + s / K on one class and s / K on each other.
    """
    smoothing = row.config["regularization"]["label_smoothing"]
    classes = row.result.get("classes", 10)
    parts = [1 - smoothing + smoothing / classes] + [smoothing / classes] * (classes - 1)
    lowest = -sum(part * math.log(part) for part in parts if part)
    return (1 - share) * math.log(classes) + share * lowest


def state_lines(results: MatrixResults) -> str:
    """Rows that failed and rows that are not trained yet, in words."""
    failed = [row for row in results.rows if row.failed]
    lines = []
    if failed:
        named = ", ".join(f"`{row.key[1]}` at step {row.result['steps']}" for row in failed)
        lines.append(
            f"Failed, a value became NaN or infinite: {named}. Failed runs count in no mean."
        )
    if results.missing:
        networks = dict.fromkeys(arch for _, arch in results.planned)
        named = ", ".join(f"`{name}`" for name in (results.missing if results.rows else networks))
        lines.append(
            f"Not trained yet, {len(results.missing)} of {len(results.planned)} rows: {named}."
        )
    return "\n\n".join(lines)


def depth_table(results: MatrixResults) -> str:
    """Test accuracy by method and depth, the better optimizer of each network."""
    depths = sorted({arch_parts(arch)[1] for _, arch in results.planned})
    methods = list(dict.fromkeys(arch_parts(arch)[0] for _, arch in results.planned))
    planned = {arch_parts(arch): arch for _, arch in results.planned}
    rows = []
    for method in sorted(methods, key=_colour):
        cells = [_depth_cell(planned.get((method, depth)), results.better) for depth in depths]
        rows.append([method, *cells])
    return table(["top-1, %", *(f"depth {depth}" for depth in depths)], rows)


def run_table(results: MatrixResults) -> str:
    """One row for the runs of each network and optimizer."""
    header = ["network", "optimizer", "peak rate", "top-1, %", "n", "failed", "at chance",
              "final training loss", *(f"steps to {share:.0%}" for share in SHARES)]  # fmt: skip
    found = sorted(groups(results.rows), key=lambda g: (natural_order(g.arch), g.optimizer))
    return table(header, [_run_row(group) for group in found])


def depth_figure(results: MatrixResults) -> Figure | None:
    """Accuracy over depth, a line a method, bars of one standard error."""
    by_method: dict[str, list[tuple[int, Estimate]]] = {}
    for arch, group in results.better.items():
        method, depth = arch_parts(arch)
        if group.top1 is not None:
            by_method.setdefault(method, []).append((depth, group.top1))
    series = [
        Series(method, *_columns([(d, t.mean, t.error or 0.0) for d, t in sorted(points)]))
        for method, points in sorted(by_method.items(), key=lambda item: _colour(item[0]))
    ]
    depths = sorted({depth for points in by_method.values() for depth, _ in points})
    if len(depths) < 2:
        return None
    return Figure(
        name=f"{results.name}_depth",
        caption=f"{results.name}: test accuracy over depth, mean and standard error over seeds",
        x_label="depth of the network",
        y_label="top-1, %",
        panels=(Panel("", tuple(series)),),
        ticks=tuple(map(float, depths)),
    )


def curve_figure(results: MatrixResults) -> Figure | None:
    """Training loss over steps, a panel a depth, a line a method: the mean over seeds."""
    panels: dict[int, list[Series]] = {}
    ordered = sorted(results.better.items(), key=lambda item: _colour(arch_parts(item[0])[0]))
    for arch, group in ordered:
        method, depth = arch_parts(arch)
        runs = [dict(run.losses) for run in group.finished]
        steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
        means = [(step, statistics.fmean(run[step] for run in runs)) for step in steps]
        if means:
            x, y = zip(*means, strict=True)
            panels.setdefault(depth, []).append(Series(method, x, tuple(round(v, 4) for v in y)))
    if not panels:
        return None
    return Figure(
        name=f"{results.name}_curves",
        caption=f"{results.name}: training loss over steps, mean over seeds",
        x_label="step",
        y_label="training loss, nats",
        panels=tuple(Panel(f"depth {depth}", tuple(panels[depth])) for depth in sorted(panels)),
    )


def rate_table(results: MatrixResults, used: Sequence[Evidence]) -> str:
    """Final training loss of every trial, which rate it chooses, and which one was used.

    Args:
      results: of the trials.
      used: evidence of the matrix they are for.
    """
    archs = {arch for _, arch in results.planned} | {row.result["arch"] for row in used}
    planned, rates = dict(results.planned), sorted({peak_rate(row) for row in results.rows})
    rows = []
    for arch in sorted(archs, key=natural_order):
        trials = {peak_rate(row): row for row in results.rows if row.result["arch"] == arch}
        mine = sorted({peak_rate(row) for row in used if row.result["arch"] == arch})
        missing = {rate: "not trained yet" for rate in rates if f"{arch}-{rate}" in planned}
        cells = [_trial(trials[r]) if r in trials else missing.get(r, "-") for r in rates]
        best = chosen_rate(trials.values())
        in_use = ", ".join(f"{rate:g}" for rate in mine) or "-"
        rows.append([f"`{arch}`", *cells, "-" if best is None else f"{best:g}", in_use])
    return table(["network", *(f"loss at {r:g}" for r in rates), "lowest at", "used"], rows)


def agreement(results: MatrixResults, used: Sequence[Evidence]) -> str:
    """Whether every network was trained with the rate that the trials choose, in words."""
    wrong, borrowed = [], []
    for arch in sorted({row.result["arch"] for row in used}, key=natural_order):
        rates = {peak_rate(row) for row in used if row.result["arch"] == arch}
        chosen = rates_by_trials(arch, results.rows)
        if not rates <= set(chosen.values()):
            wrong.append(f"`{arch}`")
        elif arch_parts(arch)[1] not in chosen:
            depths = [depth for depth, rate in chosen.items() if rate in rates]
            borrowed.append(f"`{arch}` (depth {' and '.join(map(str, depths))})")
    lines = []
    if borrowed:
        lines.append(
            "Without a trial at their own depth that leaves the loss of guessing, so with the rate "
            f"of another depth: {', '.join(borrowed)}."
        )
    if wrong:
        lines.append(f"Trained with another rate than the trials choose: {', '.join(wrong)}.")
    elif used:
        lines.append("Every network was trained with the rate that the trials choose.")
    return " ".join(lines)


def speed_table(rows: Sequence[Evidence]) -> str:
    """Images per second, the arithmetic rate they amount to, and what that says of the bound.

    A training step costs about three forward passes of two operations a multiply-accumulate.
    """
    kinds: dict[tuple[str, ...], list[Evidence]] = {}
    for row in rows:
        if row.images_per_second is not None and "macs" in row.result:
            size = "x".join(map(str, row.config["preprocessing"]["image_size"]))
            about = f"{size}, width {row.config['model']['width']:g}, batch "
            about += f"{row.config['data']['batch_size']}, {row.config['model']['dtype']}"
            kinds.setdefault((row.hardware, about, row.result["arch"]), []).append(row)
    speeds = {kind: [r.images_per_second or 0.0 for r in same] for kind, same in kinds.items()}
    work = {
        kind: 6e-9 * kinds[kind][0].result["macs"] * max(values) for kind, values in speeds.items()
    }
    best: dict[str, float] = {}
    for kind, rate in work.items():
        best[kind[0]] = max(rate, best.get(kind[0], 0.0))
    body = [
        [kind[0], f"`{kind[2]}`", kind[1], f"{statistics.median(values):,.0f}",
         f"{min(values):,.0f} to {max(values):,.0f}", len(values), f"{work[kind]:.1f}",
         f"{work[kind] / best[kind[0]]:.0%}"]
        for kind, values in sorted(speeds.items(), key=lambda i: [natural_order(p) for p in i[0]])
    ]  # fmt: skip
    header = ["hardware", "network", "images and settings", "images/s, median", "range", "runs",
              "GFLOP/s, fastest run", "of the highest here"]  # fmt: skip
    return "\n\n".join([table(header, body), *(_bound(h, work) for h in sorted(best))])


def _bound(hardware: str, work: dict[tuple[str, ...], float]) -> str:
    """What limits the networks on one kind of hardware, as far as their rates tell."""
    rates = {kind: rate for kind, rate in work.items() if kind[0] == hardware}
    fastest = max(rates, key=lambda kind: rates[kind])
    slow = [f"`{kind[2]}`" for kind, rate in rates.items() if rate < rates[fastest] / 2]
    found = (
        f"On {hardware} the highest rate is {rates[fastest]:.1f} GFLOP/s, of `{fastest[2]}` "
        f"({fastest[1]})."
    )
    if not slow:
        return f"{found} No network is below half of it."
    return (
        f"{found} Below half of it, so bound by something else than arithmetic (many small "
        "operations, memory, or other work on the machine): "
        f"{', '.join(sorted(set(slow), key=natural_order))}."
    )


def _run_row(group: Group) -> list[object]:
    chance = sum(run.at_chance for run in group.finished)
    targets = [target_loss(group.runs[0], share) for share in SHARES]
    steps = [
        f"{short(group.steps_to(loss), 0)} ({reached(group, loss)} of {len(group.runs)})"
        for loss in targets
    ]
    loss = "-" if math.isinf(group.final_loss) else f"{group.final_loss:.4f}"
    rates = ", ".join(f"{rate:g}" for rate in sorted({peak_rate(run) for run in group.runs}))
    return [f"`{group.arch}`", group.optimizer, rates, short(group.top1), len(group.finished),
            len(group.runs) - len(group.finished), chance, loss, *steps]  # fmt: skip


def _depth_cell(arch: str | None, better: dict[str, Group]) -> str:
    if arch is None:
        return ""
    if arch not in better:
        return "not trained yet"
    group = better[arch]
    if group.top1 is None:
        return "failed"
    return f"{short(group.top1)} (n = {group.top1.n})"


def _columns(
    points: Sequence[tuple[int, float, float]],
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    x, y, error = zip(*points, strict=True)
    return tuple(map(float, x)), tuple(round(v, 4) for v in y), tuple(round(v, 4) for v in error)


def _colour(method: str) -> int:
    return COLOURS.index(method) if method in COLOURS else len(COLOURS)


def _trial(row: Evidence) -> str:
    return f"failed at step {row.result['steps']}" if row.failed else f"{row.final_loss:.4f}"
