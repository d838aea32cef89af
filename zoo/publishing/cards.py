"""What the card of a weight of the matrix says beside its own numbers, from the evidence."""

from collections.abc import Iterable, Sequence

from zoo.common.words import table
from zoo.recipes.networks import baseline_of, method_and_depth
from zoo.study import (
    Estimate,
    Group,
    Result,
    better_groups,
    groups,
    rates_by_trials,
    same_budget,
)

RATE_TRIALS = "_rates"


def comparison(rows: Sequence[Result], weight: Result) -> str:
    """Markdown: the BatchNorm ResNet of the same budget, all networks of this depth, the choices.

    Args:
      rows: all evidence.
      weight: the row whose weights are published.
    """
    matrix = [row for row in rows if row.key[0] == weight.key[0]]
    arch = weight.arch
    depth = method_and_depth(arch)[1]
    peers = [g for g in groups(matrix) if method_and_depth(g.arch)[1] == depth]
    parts = [
        _budget(weight),
        against_baseline(matrix, weight),
        table(
            ["network", "optimizer", "peak learning rate", "top-1, mean over seeds", "runs"],
            [_row(group) for group in peers],
        ),
        f"{how_chosen(rows, weight)} Logits, log and configuration of every run: "
        f"`checkpoints/evidence/{weight.key[0]}/`.",
    ]
    return "\n\n".join(parts)


def against_baseline(matrix: Iterable[Result], weight: Result) -> str:
    """By how many points the network beats, or falls short of, the BatchNorm ResNet."""
    arch, matrix = weight.arch, list(matrix)
    baseline = baseline_of(arch)
    if arch == baseline:
        return "This is the baseline: the ordinary ResNet-V2 with BatchNorm and shortcuts."
    theirs = better_groups(matrix).get(baseline)
    ours = next(group for group in groups(matrix) if weight in group.runs)
    if theirs is None or theirs.top1 is None or ours.top1 is None:
        return f"The baseline of the same budget, `{baseline}`, is not trained yet: no comparison."
    if not all(same_budget(weight, run) for run in theirs.finished):
        return f"`{baseline}` was trained with another budget: no comparison."
    difference = ours.top1.minus(theirs.top1)
    word = "beats it by" if difference.mean > 0 else "falls short of it by"
    if difference.mean == 0:
        word = "equals it:"
    return (
        f"`{baseline}`, the ResNet-V2 with BatchNorm and shortcuts of the same width, depth, data "
        f"and budget, reaches {shown(theirs.top1)}; `{arch}` reaches {shown(ours.top1)} and {word} "
        f"{shown(Estimate(abs(difference.mean), difference.error, difference.n), 'points')}."
    )


def shown(value: Estimate | None, unit: str = "%") -> str:
    """Mean +- standard error (n), or that one run has no error."""
    if value is None:
        return "nothing"
    if value.error is None:
        return f"{value.mean:.2f} {unit} (one seed)"
    return f"{value.mean:.2f} ± {value.error:.2f} {unit} (mean and standard error, {value.n} seeds)"


def how_chosen(rows: Iterable[Result], weight: Result) -> str:
    """What was chosen, by what, and whether the test split had a part in it."""
    matrix, arch = weight.key[0], weight.arch
    rows = list(rows)
    split = weight.metrics["split"] if weight.metrics else "test"
    same = [row for row in rows if row.key[0] == matrix and row.arch == arch]
    optimizers = sorted({row.optimizer for row in same})
    sentences = []
    if len(optimizers) > 1:
        sentences.append(
            f"Of the optimizers {' and '.join(optimizers)} the one whose seed 0 ended at the lower "
            "training loss is published."
        )
    trials = [row for row in rows if row.key[0] == matrix + RATE_TRIALS]
    rate = weight.rate
    depths = [depth for depth, best in rates_by_trials(arch, trials).items() if best == rate]
    if depths:
        at = "" if method_and_depth(arch)[1] in depths else f", made at depth {depths[0]},"
        sentences.append(
            f"The peak learning rate {rate:g} had the lowest training loss of all trials of "
            f"{trials[0].values['steps']} steps{at} in `checkpoints/evidence/{matrix}{RATE_TRIALS}/"
            f"`. The last step is published. The {split} split was not used for choosing anything."
        )
    else:
        sentences.append(
            f"The peak learning rate {rate:g} was set by hand after short trials, not chosen by "
            f"trials of this evidence, so the {split} split may have had a part in it; it had none "
            "in anything else. The last step is published."
        )
    return " ".join(sentences)


def _budget(weight: Result) -> str:
    config, result = weight.config, weight.values
    length = f"{result['steps']:,} steps of {config['data']['batch_size']} images"
    if config["epochs"] is not None:
        length += f" ({config['epochs']:g} epochs)"
    return (
        f"Width {config['model']['width']:g} of the full network, {length}, "
        f"{config['optimizer']['name']}, on {weight.hardware}, in "
        f"{result['training_seconds'] / 60:.1f} minutes of training steps. Seed "
        f"{result['seed']} is published; the numbers below are of this budget, not of what the "
        "architecture can reach with more."
    )


def _row(group: Group) -> list[str]:
    rates = ", ".join(f"{rate:g}" for rate in sorted({run.rate for run in group.runs}))
    failed = len(group.runs) - len(group.finished)
    runs = f"{len(group.runs)}" + (f", {failed} failed (not in the mean)" if failed else "")
    top1 = group.top1
    value = "-" if top1 is None else f"{top1.mean:.2f} %"
    if top1 is not None and top1.error is not None:
        value = f"{top1.mean:.2f} ± {top1.error:.2f} %"
    return [f"`{group.arch}`", group.optimizer, rates, value, runs]
