"""The site: its tools on made-up pages, its generated pages, and with Sphinx the whole of it."""

import importlib
import importlib.util
import json

import pytest

from tests.conftest import REPOSITORY
from tools.pages.__main__ import main as write_pages
from tools.pages.notebooks import notebook
from tools.site.blocks import blocks
from tools.site.checks import broken_links, missing_names, public_names, rooms
from tools.site.docstrings import converted

DOCS = REPOSITORY / "docs"


@pytest.mark.parametrize("name", ["choosing", "gallery", "notebooks", "llms"])
def test_generated_pages_are_what_their_sources_say(name):
    assert write_pages([name, "--check"]) == 0


def test_every_room_with_public_names_has_a_page():
    text = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    for room in rooms():
        if hasattr(importlib.import_module(room), "__all__"):
            assert f".. automodule:: {room}\n" in text, room


def test_a_name_on_no_page_is_found():
    names = public_names()
    assert {"zoo.train", "zoo.data.Source", "zoo.data.imagenet.prepare_imagenet"} <= names
    assert missing_names(names - {"zoo.data.subset", "zoo.DKS"}) == ["zoo.data.subset"]
    assert missing_names(names - {"zoo.DKS", "zoo.shaping.DKS"}) == ["zoo.DKS", "zoo.shaping.DKS"]


def test_links_that_lead_nowhere_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">1</a><a href="b.html#there">2</a><a href="c.html">3</a>'
        '<a href="https://x.org/y">4</a><img src="d.svg"><script src="//x.org/z.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="here">text</p>')
    assert broken_links(tmp_path) == [
        "a.html loads //x.org/z.js from elsewhere",
        "a.html links to b.html#there: the page has no such place",
        "a.html links to c.html: it is not there",
        "a.html links to d.svg: it is not there",
    ]


def test_docstrings_become_what_sphinx_reads():
    text = """Sum of `zoo.a` and `b * c`, an *old* thing_.

      total = a + b

    Args:
      a: one number, which may
        be large: very.
      **options: others.

    Returns:
      Per file: its number.

    Raises:
      ValueError: for `nan`.

    Source: a paper.
    """
    lines = [line.removeprefix("    ") for line in text.splitlines()]
    assert converted(lines) == [
        r"Sum of :py:obj:`zoo.a`\  and ``b * c``\ , an \*old\* thing\_.", "",
        "::", "", "    total = a + b", "",
        ":param a: one number, which may be large: very.",
        r":param \*\*options: others.", "",
        ":returns: Per file: its number.", "",
        r":raises ValueError: for ``nan``\ .", "",
        "Source: a paper.", "",
    ]  # fmt: skip


def test_notebooks_hold_the_code_of_their_page():
    for path in sorted((DOCS / "tutorials").glob("*.md")):
        made = json.loads(notebook(path.read_text()))
        code = ["".join(c["source"]) for c in made["cells"] if c["cell_type"] == "code"]
        assert code == [block.text.strip() for block in blocks(path) if block.is_cell]
        assert len(code) > 3 and len({cell["id"] for cell in made["cells"]}) == len(made["cells"])


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None, reason="Sphinx is not installed; see `make docs`"
)
def test_the_site_builds_whole(tmp_path):
    from tools.site.__main__ import main

    assert main(["--out", str(tmp_path / "site"), "--no-tutorials"]) == 0
    assert (tmp_path / "site" / "llms.txt").is_file()
