"""Docstrings as this code base writes them, for Sphinx.

They are plain text: code and equations are set off by two blanks, names stand in `backticks`, and
the sections Args, Attributes, Returns and Raises hold one item a paragraph. Sphinx reads
reStructuredText, where most of this would mean something else.
"""

import functools
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):\s*$")
_ITEM = re.compile(r"^(\*{0,2}[\w., |]+?): (.*)$")
_FIELD = {"Args": "param", "Attributes": "ivar", "Raises": "raises"}
_MARKUP = re.compile(r"([*|\\])|(?<=\w)(_)(?!\w)")
# A plain word in backticks is an argument or a command far more often than a function.
_NAME = re.compile(r"(?=.*[A-Z_.])[A-Za-z_][\w.]*")


def house_to_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's event: replaces the lines of one docstring."""
    lines[:] = converted(lines)


def skip_undocumented(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Sphinx's event: leaves out members of classes that say nothing; module members stay.

    Fields are told by the docstring of their class.
    """
    speaks = inspect.isroutine(obj) or isinstance(obj, property | functools.cached_property | type)
    has_words = speaks and bool((getattr(obj, "__doc__", None) or "").strip())
    return True if what == "class" and not has_words else None


def converted(lines: Iterable[str]) -> list[str]:
    """A docstring, dedented, in reStructuredText."""
    result: list[str] = []
    for block in _paragraphs(lines):
        head = _SECTION.match(block[0])
        if head:
            result += [*_section(head.group(1), block[1:]), ""]
        elif block[0].startswith(" "):
            result += ["::", "", *("  " + line for line in block), ""]
        else:
            result += [*_prose(block), ""]
    return result


def _paragraphs(lines: Iterable[str]) -> Iterator[list[str]]:
    """Blocks between empty lines; code below a sentence is a block, a section has all of its."""
    block: list[str] = []
    for line in lines:
        is_section = bool(block) and bool(_SECTION.match(block[0]))
        if is_section and (not line.strip() or line.startswith(" ")):
            block.append(line)
            continue
        in_code = bool(block) and block[0].startswith(" ")
        turns = is_section or line.startswith(" ") != in_code or bool(_SECTION.match(line))
        if block and (turns or not line.strip()):
            yield block
            block = []
        if line.strip():
            block.append(line)
    if block:
        yield block


def _prose(block: list[str]) -> list[str]:
    """Lines joined, since a name in backticks may go on in the next; points of a list are kept."""
    lines: list[str] = []
    for line in block:
        if lines and not line.startswith("- "):
            lines[-1] += " " + line
        else:
            lines.append(line)
    return [inline(line) for line in lines]


def _section(title: str, body: list[str]) -> list[str]:
    """Fields of one section, one a line."""
    if title not in _FIELD:
        return [f":{title.lower()}: {inline(' '.join(' '.join(body).split()))}"]
    items: list[tuple[str, str]] = []
    for line in body:
        found = _ITEM.match(line.strip())
        # What is further in than the items belongs to the one before.
        if found and len(line) - len(line.lstrip()) <= 2:
            items.append((found.group(1), found.group(2)))
        elif items:
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}".strip())
        elif line.strip():
            items.append(("", line.strip()))
    return [_field(_FIELD[title], name, text) for name, text in items]


def _field(kind: str, name: str, text: str) -> str:
    if not name:
        return inline(text)
    return f":{kind} {_escaped(name)}: {inline(text)}"


def inline(text: str) -> str:
    """Names in backticks become references where there is something to refer to."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return _escaped(text).replace("`", r"\`")
    return "".join(_code(part) if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _code(text: str) -> str:
    if not text.strip():
        return ""
    return f":py:obj:`{text}`\\ " if _NAME.fullmatch(text) else f"``{text.strip()}``\\ "


def _escaped(text: str) -> str:
    return _MARKUP.sub(lambda found: "\\" + found.group(0), text)
