"""The README does what it says; `tests/test_documents.py` runs what it says to a shell."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tools.pages.__main__ import main
from tools.site.blocks import blocks

README = REPOSITORY / "README.md"
PYTHON = [block.text for block in blocks(README) if block.language == "python"]


@pytest.mark.parametrize("index", range(len(PYTHON)))
def test_python_blocks_run_as_they_are_pasted(index, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", PYTHON[index]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert (tmp_path / "three.png").exists() == (index == 0)


def test_the_three_things_take_under_ten_lines():
    assert all(len(text.splitlines()) < 10 for text in PYTHON[:3])


def test_table_of_weights_is_that_of_the_manifests():
    assert main(["readme", "--check"]) == 0


@pytest.mark.parametrize("target", ["demo", "test", "docs"])
def test_readme_names_the_commands(target):
    assert f"make {target}" in README.read_text()
