"""The blocks of code on a page of Markdown, each with what a test needs to run it.

A comment before a block says what is special about it:

  <!-- not run: needs a TPU -->   never run, and why
  <!-- slow -->                   run with the tests that take minutes

A block of `text` right behind one is what it prints; a line of three dots in it stands for any
lines, three dots within a line for anything.
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<cell>\{code-cell\})?\s*(?P<language>[\w{}-]*)")
_MARK = re.compile(r"^<!-- (not run: \S.*|slow) -->$")


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of code.

    Attributes:
      path: of the page.
      line: its first line there, from 1.
      language: "python", "sh", "text", ...; "" where none is said.
      text: its lines.
      is_cell: whether it goes on where the cell before it ended.
      reason: why it is never run, "" if it is.
      slow: whether it takes long.
      printed: what it prints, None where the page does not say.
    """

    path: Path
    line: int
    language: str
    text: str
    is_cell: bool = False
    reason: str = ""
    slow: bool = False
    printed: str | None = None


def blocks(path: Path) -> list[Block]:
    """All blocks of a page; those that show what another prints are part of it."""
    found: list[Block] = []
    previous_end = -1
    for block, start, end, mark in _fences(path):
        shows = block.language == "text" and found and not found[-1].printed and mark == ""
        if shows and start == previous_end:
            found[-1] = dataclasses.replace(found[-1], printed=block.text)
        else:
            reason = mark.removeprefix("not run: ") if mark != "slow" else ""
            found.append(dataclasses.replace(block, reason=reason, slow=mark == "slow"))
        previous_end = end
    return found


def _fences(path: Path) -> Iterator[tuple[Block, int, int, str]]:
    """Blocks with the numbers of text lines before and behind them, and the mark before."""
    lines = path.read_text(encoding="utf-8").splitlines()
    inside, spoken, mark, number = None, 0, "", 0
    body: list[str] = []
    for number, line in enumerate(lines, 1):
        opened = _FENCE.match(line)
        if inside is not None:
            if line.strip() == inside[0]:
                ticks, language, is_cell, first = inside
                text = "\n".join(body) + "\n" if body else ""
                yield Block(path, first, language, text, is_cell), spoken, spoken, mark
                inside, mark = None, ""
            else:
                body.append(line)
        elif opened:
            language = opened["language"].replace("ipython3", "python")
            inside, body = (opened["ticks"], language, bool(opened["cell"]), number + 1), []
        elif line.strip():
            found = _MARK.match(line.strip())
            mark = found.group(1) if found else ""
            spoken += 0 if found else 1


def same_output(printed: str, expected: str) -> bool:
    """Whether a page says what was printed; dots stand for what it leaves out."""
    pattern = re.escape(expected.strip()).replace(r"\.\.\.", "[\\s\\S]*?")
    return re.fullmatch(pattern, printed.strip()) is not None
