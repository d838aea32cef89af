"""docs/llms.txt: the site for readers that take text, each page with its first sentence."""

import re
from pathlib import Path

from tools.pages.page import Page

_TREE = re.compile(r"```\{toctree\}\n(.*?)```", re.DOTALL)


def page(checkpoints: Path, root: Path) -> Page:
    """The list, from the contents of index.md."""
    docs = root / "docs"
    home = (docs / "index.md").read_text(encoding="utf-8")
    parts = [f"# {_title(home)}", f"> {_sentence(home)}"]
    for tree in _TREE.findall(home):
        caption = re.search(r":caption: (.*)", tree)
        names = [line for line in tree.splitlines() if line and not line.startswith(":")]
        entries = [_entry(docs, name) for entry in names for name in (entry, *_below(docs, entry))]
        parts.append(f"## {caption.group(1) if caption else 'Pages'}\n\n" + "\n".join(entries))
    return Page(docs / "llms.txt", "\n\n".join(parts) + "\n")


def _below(docs: Path, name: str) -> list[str]:
    """Pages that a page lists."""
    text = (docs / f"{name}.md").read_text(encoding="utf-8")
    folder = Path(name).parent
    return [
        (folder / line).as_posix()
        for tree in _TREE.findall(text)
        for line in tree.splitlines()
        if line and not line.startswith(":")
    ]


def _entry(docs: Path, name: str) -> str:
    text = (docs / f"{name}.md").read_text(encoding="utf-8")
    included = re.match(r"```\{include\} (.*)\n", text)
    text = (docs / name).parent.joinpath(included.group(1)).read_text("utf-8") if included else text
    return f"- [{_title(text)}](_sources/{name}.md): {_sentence(text)}"


def _title(text: str) -> str:
    found = re.search(r"^# (.*)$", text, re.MULTILINE)
    return found.group(1).replace("`", "") if found else ""


def _sentence(text: str) -> str:
    """The first sentence of prose."""
    body = ("\n" + text).partition("\n# ")[2].partition("\n")[2]
    body = re.sub(r"^```.*?^```$", "", body, flags=re.DOTALL | re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n", body):
        words = " ".join(paragraph.split())
        if words and not words.startswith(("|", "![", "<!--", "#")):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", words).replace("**", "")
            return re.split(r"(?<=\.) ", words)[0]
    return _title(text)
