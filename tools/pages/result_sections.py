"""Sections of docs/results.md about one matrix: tables in Markdown and the figures beside them."""

import dataclasses
import math
import statistics
from collections.abc import Sequence

from zoo.common.words import natural_order, table
from zoo.recipes.networks import METHODS, method_and_depth
from zoo.report import Figure
from zoo.study import (
    Group,
    Result,
    better_groups,
    chosen_rate,
    groups,
    rates_by_trials,
    short,
)
from zoo.study.figures import curve_figure, depth_figure

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
    rows: tuple[Result, ...]

    @property
    def missing(self) -> list[str]:
        """Rows that have not run."""
        present = {row.key[1] for row in self.rows}
        return [name for name, _ in self.planned if name not in present]

    @property
    def better(self) -> dict[str, Group]:
        """Network -> runs with its better optimizer, by training loss."""
        return better_groups(self.rows)


def state_lines(results: MatrixResults) -> str:
    """Rows that failed and rows that are not trained yet, in words."""
    failed = [row for row in results.rows if row.failed]
    lines = []
    if failed:
        named = ", ".join(f"`{row.key[1]}` at step {row.values['steps']}" for row in failed)
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
    depths = sorted({method_and_depth(arch)[1] for _, arch in results.planned})
    methods = list(dict.fromkeys(method_and_depth(arch)[0] for _, arch in results.planned))
    planned = {method_and_depth(arch): arch for _, arch in results.planned}
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


def figures(results: MatrixResults) -> list[Figure]:
    """Accuracy over depth, and training loss over steps, a line a method."""
    better = results.better
    ordered = sorted(better, key=lambda arch: _colour(method_and_depth(arch)[0]))
    drawn = (
        depth_figure(results.name, better, method_and_depth, _colour),
        curve_figure(results.name, {arch: better[arch] for arch in ordered}, method_and_depth),
    )
    return [figure for figure in drawn if figure is not None]


def rate_table(results: MatrixResults, used: Sequence[Result]) -> str:
    """Final training loss of every trial, which rate it chooses, and which one was used.

    Args:
      results: of the trials.
      used: evidence of the matrix they are for.
    """
    archs = {arch for _, arch in results.planned} | {row.arch for row in used}
    planned, rates = dict(results.planned), sorted({row.rate for row in results.rows})
    rows = []
    for arch in sorted(archs, key=natural_order):
        trials = {row.rate: row for row in results.rows if row.arch == arch}
        mine = sorted({row.rate for row in used if row.arch == arch})
        missing = {rate: "not trained yet" for rate in rates if f"{arch}-{rate}" in planned}
        cells = [_trial(trials[r]) if r in trials else missing.get(r, "-") for r in rates]
        best = chosen_rate(trials.values())
        in_use = ", ".join(f"{rate:g}" for rate in mine) or "-"
        rows.append([f"`{arch}`", *cells, "-" if best is None else f"{best:g}", in_use])
    return table(["network", *(f"loss at {r:g}" for r in rates), "lowest at", "used"], rows)


def agreement(results: MatrixResults, used: Sequence[Result]) -> str:
    """Whether every network was trained with the rate that the trials choose, in words."""
    wrong, borrowed = [], []
    for arch in sorted({row.arch for row in used}, key=natural_order):
        rates = {row.rate for row in used if row.arch == arch}
        chosen = rates_by_trials(arch, results.rows)
        if not rates <= set(chosen.values()):
            wrong.append(f"`{arch}`")
        elif method_and_depth(arch)[1] not in chosen:
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


def speed_table(rows: Sequence[Result]) -> str:
    """Images per second, the arithmetic rate they amount to, and what that says of the bound.

    A training step costs about three forward passes of two operations a multiply-accumulate.
    """
    kinds: dict[tuple[str, ...], list[Result]] = {}
    for row in rows:
        if row.images_per_second is not None and "macs" in row.values:
            size = "x".join(map(str, row.config["preprocessing"]["image_size"]))
            about = f"{size}, width {row.config['model']['width']:g}, batch "
            about += f"{row.config['data']['batch_size']}, {row.config['model']['dtype']}"
            kinds.setdefault((row.hardware, about, row.arch), []).append(row)
    speeds = {kind: [r.images_per_second or 0.0 for r in same] for kind, same in kinds.items()}
    work = {
        kind: 6e-9 * kinds[kind][0].values["macs"] * max(values) for kind, values in speeds.items()
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
    targets = [group.runs[0].target_loss(share) for share in SHARES]
    steps = [
        f"{short(group.steps_to(loss), 0)} ({group.reached(loss)} of {len(group.runs)})"
        for loss in targets
    ]
    loss = "-" if math.isinf(group.final_loss) else f"{group.final_loss:.4f}"
    rates = ", ".join(f"{rate:g}" for rate in sorted({run.rate for run in group.runs}))
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


def _colour(method: str) -> int:
    return COLOURS.index(method) if method in COLOURS else len(COLOURS)


def _trial(row: Result) -> str:
    return f"failed at step {row.values['steps']}" if row.failed else f"{row.final_loss:.4f}"
