"""The README does what it says: its code runs, its table is that of the manifests."""

import os
import re
import subprocess
import sys

import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tools.pages.__main__ import main
from zoo.data import open_source

README = (REPOSITORY / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with what the README speaks of: a picture, and photos in class folders."""
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
    return folder


@pytest.mark.parametrize("index", range(len(PYTHON)))
def test_python_blocks_run(index, desk):
    result = subprocess.run(
        [sys.executable, "-c", PYTHON[index]],
        cwd=desk,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_the_three_things_take_under_ten_lines():
    assert all(len(block.splitlines()) < 10 for block in PYTHON[:3])


def test_table_of_weights_is_that_of_the_manifests():
    assert main(["readme", "--check"]) == 0


@pytest.mark.parametrize("target", ["demo", "test"])
def test_readme_names_the_two_commands(target):
    assert f"make {target}" in README
