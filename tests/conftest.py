"""Fixtures shared by all tests: where the real test data is, and strict numerics."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real test data (CIFAR-10, ImageNet pieces), from ZOO_TEST_DATA."""
    root = Path(os.environ.get("ZOO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"no test data at {root}; set ZOO_TEST_DATA to the folder that holds it")
    return root
