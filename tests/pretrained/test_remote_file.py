"""One safetensors file on a server: downloaded once, checked, kept as a weight of the cache."""

import hashlib

import pytest

from tests import bad_server as bad
from tests.pretrained.helpers import is_published
from tests.weights import ID
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.export import export
from zoo.pretrained import list_cached, load_pretrained


@pytest.fixture
def served(checkpoints, tmp_path, monkeypatch):
    """A server with `face.safetensors`, its address, and an empty cache here."""
    (tmp_path / "web").mkdir()
    export(ID, tmp_path / "web" / "face.safetensors")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    with bad.serving(tmp_path / "web") as server:
        yield server, f"{server.url}/face.safetensors"


def test_a_file_loads_from_a_server_once(served, monkeypatch):
    server, url = served
    assert is_published(load_pretrained(url))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert is_published(load_pretrained(url))
    assert len(server.requests) == 1
    (weight,) = list_cached(verify=True)
    assert weight.id == ID and not weight.problems


def test_a_file_may_be_pinned(served):
    server, url = served
    with pytest.raises(ValueError, match="sent other bytes than were published"):
        load_pretrained(f"{url}#sha256={'0' * 64}")
    assert list_cached() == []
    digest = hashlib.sha256((server.folder / "face.safetensors").read_bytes()).hexdigest()
    assert is_published(load_pretrained(f"{url}#sha256={digest}"))


@pytest.mark.parametrize(
    ("fault", "match"),
    [
        (bad.flipped, "altered|no whole safetensors file|fields missing"),
        (bad.cut, "was cut off"),
        (bad.status(404), "404 Not Found"),
        (bad.login_page, "no safetensors file"),
    ],
)
def test_a_file_that_came_damaged_is_not_kept(served, fault, match):
    server, url = served
    server.faults["face.safetensors"] = fault
    with pytest.raises(ValueError, match=match) as error:
        load_pretrained(url)
    assert "\n" not in str(error.value) and list_cached() == []
    server.faults.clear()
    assert is_published(load_pretrained(url))


def test_a_file_damaged_in_the_cache_is_fetched_again(served):
    server, url = served
    load_pretrained(url)
    (weight,) = list_cached()
    path = weight.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert is_published(load_pretrained(url))
    assert len(server.requests) == 2
