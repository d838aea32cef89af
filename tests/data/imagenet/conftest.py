"""The sample of ImageNet in every form, once per session."""

from pathlib import Path

import pytest

from tests.data.imagenet.trees import write_trees


@pytest.fixture(scope="session")
def forms(imagenet_tars: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Form -> folder; read only, tests copy what they damage."""
    return write_trees(imagenet_tars, tmp_path_factory.mktemp("imagenet-forms"))
