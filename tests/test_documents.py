"""What README.md and docs/ show is run: Python, with -m slow the shell; all commands are parsed.

Blocks marked `not run` say why. The pages of weights repeat the three lines of docs/do/load.md with
an id filled in, and are not run each.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tools.site.blocks import Block, blocks, same_output
from zoo.cli import _parse
from zoo.data import open_source

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
BLOCKS = [b for path in PAGES if path.parent.name != "weights" for b in blocks(path)]
# The README's are run as they are pasted, in tests/test_readme.py.
PYTHON = [
    b
    for b in BLOCKS
    if b.language == "python" and not b.reason and not b.is_cell and b.path.name != "README.md"
]
SHELL = [b for b in BLOCKS if b.language == "sh" and not b.reason]
TUTORIALS = sorted({b.path for b in BLOCKS if b.is_cell})
COMMANDS = [
    (b, line)
    for b in BLOCKS
    if b.language == "sh"
    for line in b.text.replace("\\\n", " ").splitlines()
]
# Between commands of one line, and what stands for something of the reader's.
ENDS = {"|", ">", ">>", "&&", ";"}
PLACEHOLDERS = {"CONFIG", "CONFIG.py", "COMMAND..."}


def _name(block: Block) -> str:
    return f"{block.path.relative_to(REPOSITORY)}:{block.line}"


def _marked(found: list[Block]) -> list:
    marks = {True: [pytest.mark.slow], False: []}
    return [pytest.param(b, id=_name(b), marks=marks[b.slow or b.language == "sh"]) for b in found]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder with what the pages speak of: pictures, and photos in class folders."""
    folder = tmp_path_factory.mktemp("desk")
    source = open_source("digits", "test")
    seen = {}
    for image, label in (source[i] for i in range(len(source))):
        count = seen[label] = seen.get(label, 0) + 1
        if label not in (3, 8) or count > 12:
            continue
        split = "train" if count > 4 else "val"
        path = folder / "my_photos" / split / ("three" if label == 3 else "eight") / f"{count}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    (folder / "my_photos" / "val" / "three" / "1.png").rename(folder / "three.png")
    Image.open(folder / "three.png").resize((32, 32)).save(folder / "new.jpg")
    return folder


@pytest.fixture
def desk(pictures, tmp_path, monkeypatch):
    """A copy of it, the working directory of one block."""
    monkeypatch.chdir(shutil.copytree(pictures, tmp_path / "desk"))
    return tmp_path / "desk"


def run_python(text: str, path: Path, line: int, names: dict) -> str:
    """What a block prints, run in `names`; errors name its own line."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (line - 1) + text, path, "exec"), names)
    return printed.getvalue()


def run_shell(text: str, folder: Path) -> str:
    """What a block prints, run by bash where `zoo` is on the path."""
    bin = Path(sys.executable).parent
    environment = {"PATH": f"{bin}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", _marked(PYTHON))
def test_python_blocks_do_what_the_page_says(block, desk):
    printed = run_python(block.text, block.path, block.line, {"__name__": "__main__"})
    assert printed.strip()
    assert block.printed is None or same_output(printed, block.printed), printed


@pytest.mark.parametrize("block", _marked(SHELL))
def test_shell_blocks_do_what_the_page_says(block, desk):
    printed = run_shell(block.text, desk)
    assert block.printed is None or same_output(printed, block.printed), printed


@pytest.mark.slow
@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_run(path, desk):
    """In a process of its own: one of them says how many devices JAX has."""
    code = "\n".join(block.text for block in blocks(path) if block.is_cell)
    (desk / "tutorial.py").write_text(code)
    assert run_shell("MPLBACKEND=agg python tutorial.py", desk).strip()


def test_every_command_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    parsed = 0
    for block, line in COMMANDS:
        words = shlex.split(line, comments=True)
        if "zoo" not in words or PLACEHOLDERS & {*words}:
            continue
        words = words[words.index("zoo") + 1 :]
        end = next((i for i, word in enumerate(words) if word in ENDS), len(words))
        try:
            _parse(words[:end])
        except ValueError as error:
            pytest.fail(f"{_name(block)}: {line}: {error}")
        parsed += 1
    assert parsed > 40


def test_no_command_hides_in_a_block_of_no_language():
    for block in BLOCKS:
        if block.language in ("", "text"):
            assert not re.match(r"(zoo|python|pip|make) ", block.text), _name(block)


@pytest.mark.parametrize(
    "printed, expected, same",
    [("a\nb\nc\n", "a\n...\nc", True), ("took 3.1 s", "took ... s", True), ("b", "a", False)],
)
def test_dots_stand_for_what_is_left_out(printed, expected, same):
    assert same_output(printed, expected) == same


def test_a_block_knows_its_mark_and_what_it_prints(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- slow -->\n```python\nprint(1)\n```\n\n```text\n1\n```\nwords\n```text\nnot it\n```\n"
        "<!-- not run: needs a pod -->\n```sh\nzoo train\n```\n"
    )
    first, loose, last = blocks(page)
    assert (first.slow, first.printed, first.line) == (True, "1\n", 3)
    assert (loose.printed, loose.reason) == (None, "")
    assert (last.reason, last.slow, last.printed) == ("needs a pod", False, None)
