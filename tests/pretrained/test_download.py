"""A weight comes from the network whole and right, or one sentence says why not."""

import socket
import time

import pytest

from tests import bad_server as bad
from tests.pretrained.helpers import (
    files,
    interrupt,
    is_published,
    refused,
    size,
)
from tests.weights import ID
from zoo.pretrained import cache as cache_module
from zoo.pretrained import (
    list_cached,
    list_pretrained,
    load_pretrained,
    locate,
)
from zoo.transfer import patience


@pytest.mark.fault("A15")
def test_what_is_not_here_is_fetched_once_and_then_without_network(server, tmp_path, monkeypatch):
    assert list_pretrained() == [ID]
    assert is_published(load_pretrained(ID))
    asked = len(server.requests)
    for name in ("create_connection", "getaddrinfo"):  # asyncio has sockets of its own
        monkeypatch.setattr(socket, name, None)
    assert is_published(load_pretrained(ID))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert is_published(load_pretrained(ID))
    assert len(server.requests) == asked
    assert [weight.id for weight in list_cached(verify=True)] == [ID]
    assert files(tmp_path / "cache" / "weights" / ".incoming") == [
        f"{list_cached()[0].folder.name}.lock"
    ]


@pytest.mark.fault("A15")
def test_offline_opens_no_connection_and_says_so(server, monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    for name in (ID, f"{server.url}/{ID}", "hf:some/name"):
        refused("ZOO_OFFLINE is set; unset it to download", name)
    assert server.requests == [] and not (tmp_path / "cache").exists()


LASTING = {
    "cut off": (bad.cut, r"was cut off at [\d,]+ of [\d,]+ bytes \(5 attempts\)"),
    "cut off, undeclared": (bad.cut_undeclared, r"was cut off at"),
    "longer": (bad.longer, r"has [\d,]+ bytes, not [\d,]+; the published file may have changed"),
    "endless": (bad.endless, r"sent more than [\d,]+ bytes"),
    "flipped bit": (bad.flipped, r"sent other bytes than were published .*\(2 attempts\)"),
    "login page": (bad.login_page, "text/html: a login or proxy page"),
    "404": (bad.status(404), "404 Not Found;"),
    "403": (bad.status(403), "403 Forbidden;"),
    "500": (bad.status(500), r"500 Internal Server Error \(5 attempts\)"),
    "429": (bad.status(429, {"Retry-After": "0"}), r"429 Too Many Requests \(5 attempts\)"),
    "gzip": (bad.gzipped, "sent 'gzip' encoded bytes"),
    "redirect to a file": (bad.redirect("file:///etc/passwd"), "redirects to 'file:///etc/passwd'"),
    "redirect to http": (
        bad.redirect("http://example.org/x"),
        "example.org/x', which is not https",
    ),
    "redirect to ftp": (bad.redirect("ftp://127.0.0.1/x"), "redirects to 'ftp://127.0.0.1/x'"),
    "redirect in a circle": (bad.redirect("?"), "redirects to"),
    "stall": (bad.stall(0.5), r"no answer within 0.3 s \(5 attempts\)"),
}


@pytest.mark.fault("A1", "A2", "A3", "A4", "A5", "A8", "A20", "A21")
@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_is_one_sentence_and_leaves_nothing_to_be_taken_for_good(
    server, data, tmp_path, fault
):
    misbehave, match = LASTING[fault]
    server.faults[data] = misbehave
    message = refused(match)
    assert f"{ID} cannot be downloaded: {server.url}/{ID}/{data}" in message
    assert list_cached() == []
    server.faults.clear()
    folder, _ = locate(ID)
    assert is_published(load_pretrained(ID))
    assert not list((tmp_path / "cache" / "weights" / ".incoming").glob("*.free-*"))
    assert folder.name.startswith(f"{ID}@")


@pytest.mark.fault("A3", "A4", "A5")
@pytest.mark.parametrize("file", ["manifest.json", "weights/manifest.ocdbt", "card.md"])
@pytest.mark.parametrize("fault", ["flipped bit", "longer", "404", "login page"])
def test_every_file_is_checked(server, file, fault):
    server.faults[file] = LASTING[fault][0]
    assert file in refused(LASTING[fault][1])
    assert list_cached() == []


PASSING = {
    "500 twice": bad.first(2, bad.status(500)),
    "busy": bad.first(1, bad.status(503, {"Retry-After": "0"})),
    "cut off": bad.first(3, bad.cut),
    "cut off, undeclared": bad.first(2, bad.cut_undeclared),
    "flipped bit": bad.first(1, bad.flipped),
    "stall": bad.first(1, bad.stall(0.5)),
    "another range": bad.range_wrong,
    "416": bad.first(1, bad.status(416)),
}


@pytest.mark.fault("A1", "A2", "A4", "A8")
@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_survived(server, data, fault):
    def misbehave(handler, content):
        return PASSING[fault](handler, content)

    server.faults[data] = misbehave
    assert is_published(load_pretrained(ID))
    assert server.count(data) > 1 or fault == "another range"


@pytest.mark.fault("A8")
def test_a_wait_the_server_asks_for_is_kept(server, data, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.faults[data] = bad.first(2, bad.status(429, {"Retry-After": "7"}))
    locate(ID)
    assert waits == [7.0, 7.0]


@pytest.mark.fault("A8")
def test_a_server_that_dribbles_is_given_up(server, data, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_S", 0.5)
    server.faults[data] = bad.dribble
    refused("sends less than 1,000 bytes a second, for 0.5 s")


@pytest.mark.fault("A7")
def test_an_interrupted_download_is_resumed_where_it_stopped(server, data, monkeypatch):
    interrupt(server, data, monkeypatch)
    assert is_published(load_pretrained(ID))
    asked = [given for path, given in server.requests if path.endswith(data)]
    assert asked == [f"bytes={size(server, data) // 2}-"]
    assert server.count("_METADATA") + server.count("card.md") <= 2


@pytest.mark.fault("A7")
@pytest.mark.parametrize("fault", [bad.range_ignored, bad.range_wrong])
def test_a_server_without_right_ranges_starts_over(server, data, monkeypatch, fault):
    interrupt(server, data, monkeypatch)
    server.faults[data] = fault
    assert is_published(load_pretrained(ID))


@pytest.mark.fault("A7")
def test_a_file_that_changed_meanwhile_starts_over(server, data, monkeypatch, tmp_path):
    """The first half is of another file; the ETag shows it."""
    whole = (server.folder / ID / data).read_bytes()
    (server.folder / ID / data).write_bytes(bytes(len(whole)))

    def half_of_it(handler, content):
        handler.answer(200, content[: len(content) // 2], {"ETag": '"old"'}, length=len(content))
        return True

    interrupt(server, data, monkeypatch, half_of_it)
    (server.folder / ID / data).write_bytes(whole)
    assert is_published(load_pretrained(ID))
    assert server.count(data) == 1


def test_a_part_without_etag_of_another_file_is_found_out_by_the_hash(server, data, monkeypatch):
    interrupt(server, data, monkeypatch)
    for part in cache_module.incoming().rglob("parts/*"):
        if part.suffix == ".etag":
            part.unlink()
        else:
            part.write_bytes(bytes(part.stat().st_size))
    assert is_published(load_pretrained(ID))
    assert server.count(data) == 2
