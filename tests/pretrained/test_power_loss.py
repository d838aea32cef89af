"""After a power cut a weight is in the cache whole, or downloaded again; never taken in part."""

import shutil

import pytest

from tests import bad_server as bad
from tests.power_loss import Recorder, put, some_states, states
from tests.weights import ID
from tests.weights import _template as _template
from zoo.checkpoint import file_digests
from zoo.pretrained import list_cached, locate
from zoo.transfer import DownloadError


@pytest.fixture(scope="module")
def downloaded(_template, tmp_path_factory):
    """A server with one weight, and the record of a first download of it."""
    cache = tmp_path_factory.mktemp("power") / "cache"
    cache.mkdir()
    recorder = Recorder(cache)
    with bad.serving(_template) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(cache))
        recorder.mark("downloading")
        with recorder.recording():
            folder, _ = locate(f"{server.url}/{ID}")
        yield server, recorder, file_digests(folder)
    shutil.rmtree(cache)


def require_whole_or_again(downloaded, tree, folder, monkeypatch):
    server, _, digests = downloaded
    put(tree, folder)
    monkeypatch.setenv("ZOO_CACHE", str(folder))
    address = f"{server.url}/{ID}"
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    try:
        found, _ = locate(address)
        assert file_digests(found) == digests
    except DownloadError as error:
        assert ID in str(error)
    monkeypatch.delenv("ZOO_OFFLINE")
    found, _ = locate(address)
    assert file_digests(found) == digests
    assert [weight.problems for weight in list_cached(verify=True)] == [()]


@pytest.mark.fault("A12", "A16")
def test_cut_at_random_moments_a_download_ends_whole(downloaded, tmp_path, monkeypatch):
    for number, (_, tree) in enumerate(some_states(downloaded[1], 15)):
        require_whole_or_again(downloaded, tree, tmp_path / str(number), monkeypatch)


@pytest.mark.fault("A12", "A16")
@pytest.mark.slow
def test_cut_at_every_moment_a_download_ends_whole(downloaded, tmp_path, monkeypatch):
    for number, (_, tree) in enumerate(states(downloaded[1])):
        folder = tmp_path / str(number)
        require_whole_or_again(downloaded, tree, folder, monkeypatch)
        shutil.rmtree(folder)
