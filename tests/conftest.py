"""Fixtures shared by all tests: where the real test data is, and strict numerics."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

import zoo  # noqa: F401  before any test starts JAX: it says how JAX computes rightly

REPOSITORY = Path(__file__).resolve().parent.parent
# What is solved in a test is not kept between runs.
os.environ.setdefault("ZOO_SOLVED_CACHE", "0")
# Read when numpy is imported. Threads of LAPACK that wait for a busy core burn more time than the
# small matrices of the tests take.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def no_lines_of_progress(monkeypatch):
    """Tests compare what commands say; how long a loaded machine takes is none of it."""
    monkeypatch.setattr("zoo.common.console.FIRST_LINE_S", 1e6)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real test data (CIFAR-10, ImageNet pieces), from ZOO_TEST_DATA."""
    root = Path(os.environ.get("ZOO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no test data at {root}; set ZOO_TEST_DATA to the folder that holds it")
    return root


@pytest.fixture(scope="session")
def cifar10_dir(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with CIFAR-10 in the official binary layout."""
    script = data_root.parent / "tools" / "cifar10_official.py"
    if not script.is_file():
        pytest.skip(f"no {script} to write the official layout with")
    folder = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def tiny_imagenet_dir(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder whose val/ holds 64 classes of 50 real images of 64 x 64 pixels."""
    archive = data_root / "tiny-imagenet-64" / "val-000.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    folder = tmp_path_factory.mktemp("tiny-imagenet")
    with tarfile.open(archive, "r:xz") as tar:
        tar.extractall(folder / "val", filter="data")
    return folder


def json_from_8_devices(code: str, *arguments: Any) -> Any:
    """What `code` prints last, as JSON, run in a process with eight emulated CPU devices."""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        capture_output=True,
        cwd=REPOSITORY,
        env={**os.environ, **flags},
        timeout=120,
    )
    return json.loads(done.stdout.splitlines()[-1])
