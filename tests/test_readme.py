"""The README does what it says: its code runs, its table is that of the manifests."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tools.pages.__main__ import main

README = (REPOSITORY / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


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
    assert all(len(block.splitlines()) < 10 for block in PYTHON[:3])


def test_table_of_weights_is_that_of_the_manifests():
    assert main(["readme", "--check"]) == 0


@pytest.mark.parametrize("target", ["demo", "test"])
def test_readme_names_the_two_commands(target):
    assert f"make {target}" in README
