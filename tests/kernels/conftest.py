"""oneDNN, for the tests that need it."""

import pytest

from zoo.kernels import NoKernelsError
from zoo.kernels.library import load_onednn


@pytest.fixture
def onednn() -> None:
    """Skips, with the reason, where oneDNN is not there."""
    try:
        load_onednn()
    except NoKernelsError as error:
        pytest.skip(str(error))
