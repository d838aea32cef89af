"""Answers for people: lines of plain text."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Output(NamedTuple):
    """The answer of a command: a JSON value, lines for people, and its exit code."""

    value: Any
    lines: list[str]
    exit_code: int = 0


def aligned(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
) -> list[str]:
    """Rows below their header, in columns; those numbered in `right` end together."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def accuracies(metrics: dict[str, Any]) -> str:
    """Top-1 per data set, in percent, with n."""
    parts = [
        f"{data} top-1 {100 * measured['top1']:.2f} % (n = {measured['n']:.0f})"
        for data, measured in metrics.items()
        if {"top1", "n"} <= set(measured)
    ]
    return "; ".join(parts)


def fields(values: dict[str, Any]) -> str:
    """`name value` pairs of everything that is set."""
    return ", ".join(f"{k} {text(v)}" for k, v in values.items() if v is not None)


def text(value: Any) -> str:
    """A JSON value for people: floats to six digits, no brackets."""
    if isinstance(value, dict):
        return fields(value)
    if isinstance(value, list | tuple):
        return " ".join(text(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
