"""What a built site must be: whole, self-contained, and with every public name on a page."""

import html.parser
import importlib
import pkgutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PRIVATE_ROOMS = ("cli", "common", "demo")
"""Rooms whose functions are reached by the command `zoo` alone, or by other rooms."""


class _Page(html.parser.HTMLParser):
    """What a page links to, what it loads, and where it can be entered."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(given.get("href", ""))
        if tag in ("img", "script", "iframe", "source"):
            self.loads += [given["src"]] if "src" in given else []


def broken_links(site: Path) -> list[str]:
    """Sentences, one for each link inside the site that leads nowhere and each foreign resource."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in _written(site)}
    problems = []
    for path, page in sorted(pages.items()):
        name = path.relative_to(site)
        foreign = [address for address in page.loads if urllib.parse.urlsplit(address).netloc]
        problems += [f"{name} loads {address} from elsewhere" for address in foreign]
        problems += [
            f"{name} links to {link}: {problem}"
            for link in dict.fromkeys(page.links + page.loads)
            if (problem := _problem(path, link, pages))
        ]
    return problems


def _written(site: Path) -> list[Path]:
    """Pages, without the templates that a theme leaves beside its styles."""
    return [path for path in site.rglob("*.html") if "_static" not in path.parts]


def _problem(path: Path, link: str, pages: dict[Path, _Page]) -> str:
    """What is wrong with a link on the page at `path`; "" for one that leads somewhere, or out."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    there = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
    there = there / "index.html" if there.is_dir() else there
    if not there.exists():
        return "it is not there"
    known = there not in pages or urllib.parse.unquote(parts.fragment) in pages[there].anchors
    return "" if known else "the page has no such place"


def rooms() -> Iterator[str]:
    """`zoo` and the packages of it whose names are public."""
    import zoo

    yield "zoo"
    for package in pkgutil.iter_modules(zoo.__path__, "zoo."):
        if package.ispkg and package.name.removeprefix("zoo.") not in _PRIVATE_ROOMS:
            yield package.name
    yield "zoo.data.imagenet"


def public_names() -> set[str]:
    """Every public name with its room, such as zoo.data.Source."""
    return {
        f"{room}.{name}"
        for room in rooms()
        for name in getattr(importlib.import_module(room), "__all__", ())
        if not name.startswith("__")
    }


def missing_names(inventory: set[str]) -> list[str]:
    """Public names that no page of the site documents, under this name or that of another room."""
    names = public_names()
    shown = [_object(name) for name in names & inventory]
    return sorted(
        name
        for name in names - inventory
        if not any(_object(name) is one for one in shown if callable(one))
    )


def _object(name: str) -> Any:
    room, _, last = name.rpartition(".")
    return getattr(importlib.import_module(room), last)
