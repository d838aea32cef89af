"""Notebooks of the tutorials, generated from the text that the site executes.

They hold no output and run where the package is installed; the first cell says how.
"""

import json
from pathlib import Path
from typing import Any

from tools.pages.page import Page

_FENCE = "```{code-cell} ipython3"
_INSTALL = (
    "Run it in an environment that has the zoo: in a clone, `make venv`, then "
    "`.venv/bin/python -m pip install jupyterlab`."
)


def pages(checkpoints: Path, root: Path) -> tuple[Page, ...]:
    """One notebook a tutorial."""
    folder = root / "docs" / "tutorials"
    return tuple(
        Page(folder / "notebooks" / f"{path.stem}.ipynb", notebook(path.read_text("utf-8")))
        for path in sorted(folder.glob("*.md"))
    )


def notebook(text: str) -> str:
    """A notebook, version 4.5, of MyST Markdown with code cells."""
    text = text.partition("\n---\n")[2] if text.startswith("---\n") else text
    cells: list[tuple[str, list[str]]] = [("markdown", [])]
    for line in text.strip().splitlines():
        if line == _FENCE:
            cells.append(("code", []))
        elif line == "```" and cells[-1][0] == "code":
            cells.append(("markdown", []))
        else:
            cells[-1][1].append(line)
    cells.insert(1, ("markdown", [_INSTALL]))
    made = [_cell(index, *cell) for index, cell in enumerate(cells) if any(cell[1])]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    whole = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cell(index: int, kind: str, lines: list[str]) -> dict[str, Any]:
    source = "\n".join(lines).strip().splitlines(keepends=True)
    cell = {"cell_type": kind, "id": f"cell-{index}", "metadata": {}, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
