"""The wheel works where there is no clone: index, recipes and the demo's weight are in it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from zoo.demo import WEIGHT
from zoo.pretrained import read_manifest

LARGEST_BYTES = 2_000_000


def _run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=900, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from what git has, in a folder of its own: nothing of an earlier build gets in."""
    source = tmp_path_factory.mktemp("source")
    listed = _run("git", "ls-files", "-co", "--exclude-standard", "-z", cwd=REPOSITORY)
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).is_file() and not name.startswith(("tests/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    _run(*pip, "wheel", source, "--wheel-dir", out, *offline)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def zoo(wheel, tmp_path_factory):
    """Runs the installed command outside the clone, in an environment without a copy of it."""
    root = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", "--without-pip", root)
    python = root / "bin" / "python"
    # The libraries of the lock, read from where the tests have them; the editable install there is
    # a .pth file, which counts in a real site-packages only.
    (packages,) = root.glob("lib/python*/site-packages")
    (packages / "lock.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    _run(*pip, "install", "--no-deps", "--no-index", wheel)
    desk = tmp_path_factory.mktemp("desk")
    hidden = ("PYTHONPATH", "ZOO_CHECKPOINTS", "ZOO_URL")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    environment |= {"ZOO_CACHE": str(root / "cache"), "ZOO_OFFLINE": "1", "JAX_PLATFORMS": "cpu"}

    def call(*words):
        out = _run(root / "bin" / "zoo", *words, "--json", cwd=desk, env=environment)
        return json.loads(out.splitlines()[-1])

    place = _run(python, "-c", "import zoo; print(zoo.__file__)", cwd=desk, env=environment)
    assert Path(place.strip()).is_relative_to(root)
    return call


def test_the_wheel_carries_recipes_index_and_one_small_weight(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names, size = archive.namelist(), sum(i.compress_size for i in archive.infolist())
        index = archive.read("zoo/published/index.json")
    assert size < LARGEST_BYTES
    assert index == (REPOSITORY / "checkpoints" / "index.json").read_bytes()
    published = {name.split("/")[2] for name in names if name.startswith("zoo/published/")}
    assert published == {"index.json", WEIGHT}
    files = {name.partition(f"published/{WEIGHT}/")[2] for name in names} - {""}
    assert files == {*read_manifest(REPOSITORY / "checkpoints" / WEIGHT).files, "manifest.json"}
    assert "zoo/recipes/in1k.py" in names
    assert not [name for name in names if name.startswith(("tests", "tools", "checkpoints"))]


def test_the_installed_command_lists_every_weight_and_loads_the_one_it_has(zoo):
    index = json.loads((REPOSITORY / "checkpoints" / "index.json").read_text())["weights"]
    assert set(zoo("list", "--pretrained")) == set(index)
    assert zoo("info", WEIGHT)["metrics"]["digits"]["n"] == 360


@pytest.mark.slow
def test_the_installed_command_trains_evaluates_and_shows(zoo):
    published = zoo("eval", WEIGHT, "--data", "digits")
    manifest = read_manifest(REPOSITORY / "checkpoints" / WEIGHT)
    assert published["correct1"] == manifest.metrics["digits"]["correct1"]
    assert zoo("train", "--recipe", "digits", "--steps", "2", "--workdir", "run")["step"] == 2
    assert zoo("eval", "run", "--data", "digits")["n"] == 360
    shown = zoo("demo", "--steps", "8")
    assert shown["weight"] == WEIGHT and shown["published"]["n"] == 360
