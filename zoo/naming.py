"""The order in which ids are listed."""

import re


def natural_order(id: str) -> list[tuple[int, int | str]]:
    """Sorting key under which resnet50 comes before resnet101."""
    parts = re.split(r"(\d+)", id)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts]
