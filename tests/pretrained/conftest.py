"""A published weight on a server of this machine; here only the index, which names the server."""

import os
import shutil

import pytest

from tests import bad_server as bad
from tests.pretrained.helpers import FETCH, index_urls
from tests.weights import ID
from tests.weights import _template as _template
from zoo.transfer import patience


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits, and no settings of this machine."""
    monkeypatch.setattr(FETCH, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(patience, "TIMEOUT_S", 0.3)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HOME", os.devnull)
    for name in ("ZOO_OFFLINE", "ZOO_URL", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(_template, tmp_path, monkeypatch):
    """The published weight on a server; here only the index, which names the server."""
    shutil.copytree(_template, tmp_path / "web")
    (tmp_path / "here").mkdir()
    with bad.serving(tmp_path / "web") as state:
        index_urls(tmp_path, [state.url])
        monkeypatch.setenv("ZOO_CHECKPOINTS", str(tmp_path / "here"))
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
        yield state


@pytest.fixture(scope="session")
def data(_template):
    """Name of the largest file of the weight."""
    files = [path for path in (_template / ID).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size).relative_to(_template / ID).as_posix()
