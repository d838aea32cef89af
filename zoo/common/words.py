"""Words for people: the nearest name to a misspelt one, the order of names, numbers, tables."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any


def nearest(name: str, names: Iterable[str], count: int = 3) -> str:
    """ "nearest: a, b", at most `count` of `names`; "" where none resembles `name`."""
    found = near_names(name, names, count)
    return f"nearest: {', '.join(found)}" if found else ""


def near_names(name: str, names: Iterable[str], count: int, likeness: float = 0.4) -> list[str]:
    """At most `count` of `names`, those that resemble `name` most, from 0 (not) to 1 (equal)."""
    return difflib.get_close_matches(name, list(names), n=count, cutoff=likeness)


def natural_order(name: str) -> list[tuple[int, int | str]]:
    """Sorting key under which resnet50 comes before resnet101."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]


def plural(count: int, word: str) -> str:
    """ "1 mistake", "2 mistakes"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def percent(share: float, digits: int = 2) -> str:
    """A share of 1 in percent."""
    return f"{100 * share:.{digits}f} %"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
