"""A weight comes from the network whole and right, or one sentence says why not."""

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from tests import bad_server as bad
from tests.conftest import REPOSITORY
from tests.weights import ID, tiny_model
from tests.weights import _template as _template
from zoo.checkpoint import load_weights
from zoo.models import split
from zoo.pretrained import cache as cache_module
from zoo.pretrained import download as download_module
from zoo.pretrained import (
    list_cached,
    list_pretrained,
    load_pretrained,
    locate,
    read_index,
    remove_cached,
    write_index,
)
from zoo.pretrained import staging as staging_module
from zoo.transfer import Digest, DownloadError, fetch, url_problem
from zoo.transfer import fetch as _fetch_function
from zoo.transfer import http as http_module

FETCH = sys.modules[_fetch_function.__module__]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Short waits, and no settings of this machine."""
    monkeypatch.setattr(FETCH, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(http_module, "TIMEOUT_S", 0.3)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("ZOO_OFFLINE", "ZOO_URL", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server(_template, tmp_path, monkeypatch):
    """The published weight on a server; here only the index, which names the server."""
    shutil.copytree(_template, tmp_path / "web")
    (tmp_path / "here").mkdir()
    with bad.serving(tmp_path / "web") as state:
        _index_urls(tmp_path, [state.url])
        monkeypatch.setenv("ZOO_CHECKPOINTS", str(tmp_path / "here"))
        monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
        yield state


def _index_urls(tmp_path, urls):
    index = json.loads((tmp_path / "web" / "index.json").read_text())
    (tmp_path / "here" / "index.json").write_text(json.dumps({**index, "urls": urls}))


@pytest.fixture(scope="session")
def data(_template):
    """Name of the largest file of the weight."""
    files = [path for path in (_template / ID).rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size).relative_to(_template / ID).as_posix()


def _is_published(model):
    params, expected = split(model)[1], split(tiny_model())[1]
    return params.keys() == expected.keys() and all(
        np.array_equal(params[name], expected[name]) for name in expected
    )


def _refused(match, name=ID, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        locate(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_what_is_not_here_is_fetched_once_and_then_without_network(server, tmp_path, monkeypatch):
    assert list_pretrained() == [ID]
    assert _is_published(load_pretrained(ID))
    asked = len(server.requests)
    for name in ("create_connection", "getaddrinfo"):  # asyncio has sockets of its own
        monkeypatch.setattr(socket, name, None)
    assert _is_published(load_pretrained(ID))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert _is_published(load_pretrained(ID))
    assert len(server.requests) == asked
    assert [weight.id for weight in list_cached(verify=True)] == [ID]
    assert _files(tmp_path / "cache" / "weights" / ".incoming") == [
        f"{list_cached()[0].folder.name}.lock"
    ]


def test_offline_opens_no_connection_and_says_so(server, monkeypatch, tmp_path):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    for name in (ID, f"{server.url}/{ID}", "hf:some/name"):
        _refused("ZOO_OFFLINE is set; unset it to download", name)
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


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_is_one_sentence_and_leaves_nothing_to_be_taken_for_good(
    server, data, tmp_path, fault
):
    misbehave, match = LASTING[fault]
    server.faults[data] = misbehave
    message = _refused(match)
    assert f"{ID} cannot be downloaded: {server.url}/{ID}/{data}" in message
    assert list_cached() == []
    server.faults.clear()
    folder, _ = locate(ID)
    assert _is_published(load_pretrained(ID))
    assert not list((tmp_path / "cache" / "weights" / ".incoming").glob("*.free-*"))
    assert folder.name.startswith(f"{ID}@")


@pytest.mark.parametrize("file", ["manifest.json", "weights/manifest.ocdbt", "card.md"])
@pytest.mark.parametrize("fault", ["flipped bit", "longer", "404", "login page"])
def test_every_file_is_checked(server, file, fault):
    server.faults[file] = LASTING[fault][0]
    assert file in _refused(LASTING[fault][1])
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


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_survived(server, data, fault):
    def misbehave(handler, content):
        return PASSING[fault](handler, content)

    server.faults[data] = misbehave
    assert _is_published(load_pretrained(ID))
    assert server.count(data) > 1 or fault == "another range"


def test_a_wait_the_server_asks_for_is_kept(server, data, monkeypatch):
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.faults[data] = bad.first(2, bad.status(429, {"Retry-After": "7"}))
    locate(ID)
    assert waits == [7.0, 7.0]


def test_a_server_that_dribbles_is_given_up(server, data, monkeypatch):
    monkeypatch.setattr(http_module, "SLOWEST_WINDOW_S", 0.1)
    server.faults[data] = bad.dribble
    _refused("sends less than 100 bytes a second")


def _interrupt(server, data, monkeypatch):
    """Leaves the first half of `data` behind."""
    server.faults[data] = bad.first(1, bad.cut)
    monkeypatch.setattr(http_module, "ATTEMPTS", 1)
    monkeypatch.setattr(FETCH, "ATTEMPTS", 1)
    _refused("was cut off")
    server.faults.clear()
    server.requests.clear()


def _size(server, data):
    return (server.folder / ID / data).stat().st_size


def test_an_interrupted_download_is_resumed_where_it_stopped(server, data, monkeypatch):
    _interrupt(server, data, monkeypatch)
    assert _is_published(load_pretrained(ID))
    asked = [given for path, given in server.requests if path.endswith(data)]
    assert asked == [f"bytes={_size(server, data) // 2}-"]
    assert server.count("_METADATA") + server.count("card.md") <= 2


@pytest.mark.parametrize("fault", [bad.range_ignored, bad.range_wrong])
def test_a_server_without_right_ranges_starts_over(server, data, monkeypatch, fault):
    _interrupt(server, data, monkeypatch)
    server.faults[data] = fault
    assert _is_published(load_pretrained(ID))


def test_a_file_that_changed_meanwhile_starts_over(server, data, monkeypatch, tmp_path):
    """The first half is of another file; the ETag shows it."""
    whole = (server.folder / ID / data).read_bytes()
    (server.folder / ID / data).write_bytes(bytes(len(whole)))
    _interrupt_honestly(server, data, monkeypatch)
    (server.folder / ID / data).write_bytes(whole)
    assert _is_published(load_pretrained(ID))
    assert server.count(data) == 1


def _interrupt_honestly(server, data, monkeypatch):
    def half(handler, content):
        handler.answer(200, content[: len(content) // 2], {"ETag": '"old"'}, length=len(content))
        return True

    monkeypatch.setattr(bad, "cut", half)
    _interrupt(server, data, monkeypatch)


def test_a_part_without_etag_of_another_file_is_found_out_by_the_hash(server, data, monkeypatch):
    _interrupt(server, data, monkeypatch)
    for part in cache_module.incoming().rglob("parts/*"):
        if part.suffix == ".etag":
            part.unlink()
        else:
            part.write_bytes(bytes(part.stat().st_size))
    assert _is_published(load_pretrained(ID))
    assert server.count(data) == 2


def test_mirrors_are_tried_in_order(server, data, tmp_path):
    shutil.copytree(server.folder, tmp_path / "other")
    with bad.serving(tmp_path / "other") as other:
        _index_urls(tmp_path, [server.url, other.url])
        server.faults[data] = bad.status(404)
        assert _is_published(load_pretrained(ID))
        assert (server.count(data), other.count(data), other.count("card.md")) == (1, 1, 0)
        remove_cached(ID)
        other.faults[data] = bad.flipped
        message = _refused("404 Not Found; .*sent other bytes")
        assert server.url in message and other.url in message


def test_zoo_url_replaces_the_addresses_of_the_index(server, tmp_path, monkeypatch):
    _index_urls(tmp_path, ["https://nowhere.invalid"])
    monkeypatch.setenv("ZOO_URL", f"{server.url}/")
    assert _is_published(load_pretrained(ID))
    monkeypatch.setenv("ZOO_URL", "http://example.org")
    remove_cached(ID)
    _refused("ZOO_URL: 'http://example.org' is not https")


def test_zoo_url_knows_weights_the_index_here_does_not(server, tmp_path, monkeypatch):
    (tmp_path / "here" / "index.json").unlink()
    _refused("no weight")
    monkeypatch.setenv("ZOO_URL", server.url)
    assert _is_published(load_pretrained(ID))
    asked = len(server.requests)
    assert _is_published(load_pretrained(ID)) and len(server.requests) == asked
    _refused(f"there: {ID}", f"{ID}x")


def test_the_addresses_of_an_index_survive_the_next_publication(server, tmp_path):
    folder = tmp_path / "web"
    write_index(folder, ["https://example.org/weights/", server.url])
    write_index(folder)
    urls = read_index(folder)[ID].urls
    assert urls == (f"https://example.org/weights/{ID}", f"{server.url}/{ID}")
    write_index(folder, ["file:///etc"])
    with pytest.raises(ValueError, match="'urls' is not a list of https addresses"):
        read_index(folder)


def test_an_index_without_addresses_says_what_to_set(server, tmp_path):
    _index_urls(tmp_path, [])
    _refused("no address is known; set ZOO_URL")


@pytest.mark.parametrize("ending", ["", "/", "/manifest.json"])
def test_an_address_loads_like_the_weight_it_serves(server, ending, monkeypatch):
    model = load_pretrained(f"{server.url}/{ID}{ending}")
    assert _is_published(model) and model.manifest.id == ID
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert _is_published(load_pretrained(f"{server.url}/{ID}{ending}"))


def test_an_address_may_pin_the_manifest(server):
    digest = locate(ID)[0].name.partition("@")[2]
    assert _is_published(load_pretrained(f"{server.url}/{ID}#sha256={digest}"))
    _refused("was asked for; check the address", f"{server.url}/{ID}#sha256={'0' * 64}")
    _refused("has a query or fragment", f"{server.url}/{ID}#sha256=123")


def test_a_hub_repository_is_its_files_at_a_revision(server, monkeypatch):
    home = server.folder / "org" / "name" / "resolve"
    for revision in ("v1", "main"):
        shutil.copytree(server.folder / ID, home / revision)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    assert _is_published(load_pretrained("hf:org/name@v1"))
    assert _is_published(load_pretrained("hf:org/name"))
    assert server.count("resolve/v1/manifest.json") > 0
    for name in ("hf:name", "hf:org/na me", "hf:../..", "hf:org/name@../..", "hf:org/name@"):
        _refused("names no repository", name)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://example.org/x", ""),
        ("http://127.0.0.1:8/x", ""),
        ("http://example.org", "is not https"),
        ("file:///etc/passwd", "names no server"),
        ("ftp://example.org", "is not https"),
        ("https://user:word@example.org", "credentials"),
        ("https:///x", "names no server"),
        ("https://example.org/a b", "not an address"),
        ("https://example.org/\n", "not an address"),
        ("https://[::1", "not an address"),
        ("https://example.org:x/", "not an address"),
    ],
)
def test_only_https_is_an_address(url, problem):
    assert problem in url_problem(url) and bool(problem) == bool(url_problem(url))


def _change_manifest(server, change):
    """Serves another manifest, and lists it at an address only."""
    path = server.folder / ID / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def _rename_file(name):
    def change(values):
        values["files"][name] = values["files"].pop("card.md")

    return change


NAMES = [
    "../evil", "/evil", "weights/../../evil", "..", ".", "", "C:\\evil", "C:/evil", "\\\\host\\x",
    "a\0b", "a//b", "a/", "CON", "weights/nul.txt", "trailing.", "trailing ", "~/x", "a\nb",
    "-x/../y", ".hidden", "é", "x" * 300, "manifest.json", "Manifest.JSON", "weights",
    "weights/_METADATA/x",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_that_would_leave_the_cache_are_refused(server, tmp_path, name):
    _change_manifest(server, _rename_file(name))
    before = sorted(tmp_path.rglob("*"))
    _refused("unsafe part|not a file name|cannot be a file|differ in case", f"{server.url}/{ID}")
    assert sorted(tmp_path.rglob("*")) == before


MANIFESTS = {
    "newer": (lambda v: v.update(format_version=99), "upgrade flax-vanilla-zoo"),
    "no files": (lambda v: v.update(files={}), "'files' is not an object"),
    "digest missing": (lambda v: v["files"]["card.md"].pop("sha256"), "exactly 'bytes' and"),
    "short digest": (lambda v: v["files"]["card.md"].update(sha256="ab"), "64 lower-case"),
    "negative size": (lambda v: v["files"]["card.md"].update(bytes=-1), "not a size"),
    "absurd size": (lambda v: v["files"]["card.md"].update(bytes=2**50), "not a size"),
    "larger than the disk": (lambda v: v["files"]["card.md"].update(bytes=2**39), "free some"),
    "oversized": (lambda v: v.update(recipe={"x": "y" * 2**23}), "is larger than"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_cannot_be_right_is_refused(server, case):
    change, match = MANIFESTS[case]
    _change_manifest(server, change)
    _refused(match, f"{server.url}/{ID}")
    assert list_cached() == []


def test_a_manifest_without_end_is_not_read_to_the_end(server):
    server.faults["manifest.json"] = bad.endless
    _refused("is larger than 4,194,304 bytes", f"{server.url}/{ID}")


def test_a_manifest_that_is_no_json_is_refused(server):
    (server.folder / ID / "manifest.json").write_bytes(b"\x80\x04]\x94.")
    _refused("not valid JSON", f"{server.url}/{ID}")


def test_swapped_files_are_refused(server):
    folder = server.folder / ID
    first, second = folder / "card.md", folder / "weights" / "_METADATA"
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    _refused(r"has [\d,]+ bytes, not")


def test_a_missing_file_is_named(server, data):
    (server.folder / ID / data).unlink()
    assert data in _refused("404 Not Found")


def _link(path):
    target = path.parent.parent / "elsewhere"
    shutil.move(path, target)
    path.symlink_to(target)


DAMAGES = {
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "missing": lambda path: path.unlink(),
    "link": _link,
    "fifo": lambda path: (path.unlink(), os.mkfifo(path)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_weight_only_the_damaged_file_is_fetched_again(
    server, data, monkeypatch, damage
):
    folder, _ = locate(ID)
    DAMAGES[damage](folder / data)
    assert list_cached(verify=True)[0].problems
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    _refused("is not in the cache whole .*ZOO_OFFLINE is set")
    monkeypatch.delenv("ZOO_OFFLINE")
    server.requests.clear()
    assert _is_published(load_pretrained(ID))
    assert [path for path, _ in server.requests] == [f"/{ID}/{data}"]
    assert list_cached(verify=True)[0].problems == ()


def test_a_linked_folder_inside_the_cache_is_not_followed(server, tmp_path):
    folder, _ = locate(ID)
    outside = tmp_path / "outside"
    shutil.move(folder / "weights", outside)
    (outside / "mine").write_text("keep")
    (folder / "weights").symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    assert _is_published(load_pretrained(ID))
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before
    assert not (folder / "weights").is_symlink()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO])
def test_a_disk_that_fills_up_is_given_back_its_space(server, monkeypatch, tmp_path, code):
    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(FETCH._Part, "_write", fail)
        match = "no space left in" if code in FETCH._FULL_DISK else "cannot be written"
        assert "ZOO_CACHE" in _refused(match)
    assert [n for n in _files(tmp_path / "cache") if not n.endswith(".lock")] == []
    assert _is_published(load_pretrained(ID))


def test_too_little_room_is_seen_beforehand(server, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda path: usage)
    _refused("has 1,000 free; free some or set ZOO_CACHE")
    assert server.count("card.md") == 0


@pytest.mark.parametrize("inside", ["", "/below"])
def test_a_cache_that_is_a_file_is_one_sentence(server, tmp_path, monkeypatch, inside):
    (tmp_path / "taken").write_text("x")
    monkeypatch.setenv("ZOO_CACHE", f"{tmp_path}/taken{inside}")
    _refused("cannot be written .*set ZOO_CACHE")


CHILD = """
import resource, sys
from zoo.transfer import http
http.TIMEOUT_S = 20
{first}
from zoo.pretrained import locate
try:
    print(locate({name!r})[0])
except ValueError as error:
    print("refused:", error)
"""


def _child(first="", name=ID, **options):
    code = CHILD.format(first=first, name=name)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def _said(child):
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return out.strip()


def test_two_processes_download_once(server, data):
    def slow(handler, content):
        time.sleep(0.3)
        return False

    server.faults[""] = slow
    children = [_child(), _child()]
    assert len({_said(child) for child in children}) == 1
    assert server.count(data) == server.count("card.md") == 1
    server.faults.clear()
    assert _is_published(load_pretrained(ID))


def test_without_locks_two_processes_may_download_twice_but_right(server, monkeypatch):
    def slow(handler, content):
        time.sleep(0.2)
        return False

    server.faults[""] = slow
    first = "import fcntl; fcntl.flock = lambda *arguments: None"
    children = [_child(first), _child(first)]
    assert len({_said(child) for child in children}) == 1
    server.faults.clear()
    assert _is_published(load_pretrained(ID)) and len(list_cached()) == 1


def test_a_killed_download_is_resumed_by_the_next(server, data):
    server.faults[data] = bad.stall(30)
    child = _child()
    half, deadline = _size(server, data) // 2, time.monotonic() + 30
    while time.monotonic() < deadline:
        parts = [p for p in cache_module.incoming().rglob("parts/*") if p.suffix != ".etag"]
        if server.count(data) and parts and parts[0].stat().st_size >= half:
            break
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert list_cached() == []
    server.faults.clear()
    server.requests.clear()
    assert _is_published(load_pretrained(ID))
    asked = [given for path, given in server.requests if path.endswith(data)]
    assert asked == [f"bytes={half}-"]


def test_a_file_size_limit_is_a_full_disk(server, data):
    limit = _size(server, data) // 2
    first = f"import jax; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    said = _said(_child(first))
    assert said.startswith("refused: no space left in") and "ZOO_CACHE" in said
    assert list_cached() == []
    assert _is_published(load_pretrained(ID))


@pytest.fixture
def shared_cache(monkeypatch):
    """A cache other users can read; pytest's own folders are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("ZOO_CACHE", f"{folder}/cache")
        yield


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which needs root")
def test_a_read_only_cache_serves_what_it_holds_and_says_what_it_cannot(
    server, shared_cache, tmp_path, monkeypatch
):
    """Another user's cache: whole weights are found, others are refused."""
    locate(ID)
    open_index = cache_module.cache_folder().parent.parent / "here"
    shutil.copytree(tmp_path / "here", open_index)
    monkeypatch.setenv("ZOO_CHECKPOINTS", str(open_index))
    # Everything is imported first: the libraries may be where only root can read.
    as_nobody = "import os, jax, zoo.pretrained.sources; os.setgid(65534); os.setuid(65534)"
    assert ID in _said(_child(as_nobody))
    remove_cached()
    said = _said(_child(as_nobody))
    assert said.startswith("refused: ") and "cannot be written" in said and "ZOO_CACHE" in said


def test_a_waiting_process_says_for_whom(server, tmp_path, monkeypatch, caplog):
    from zoo.transfer import lock

    monkeypatch.setattr(lock, "WAITING_MESSAGE_EVERY_S", 0.05)
    monkeypatch.setattr(lock, "_POLL_S", 0.02)
    path = tmp_path / "x.lock"
    code = (
        "import sys, time, pathlib; from zoo.transfer import waiting_lock\n"
        f"with waiting_lock(pathlib.Path({str(path)!r})):\n"
        "    print('held', flush=True); time.sleep(0.3)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with caplog.at_level("WARNING"), lock.waiting_lock(path):
        pass
    holder.communicate(timeout=10)
    assert f"waiting for process {holder.pid} on" in caplog.text and str(path) in caplog.text


def test_removing_takes_away_a_weight_and_unfinished_downloads(server, data, monkeypatch, tmp_path):
    locate(f"{server.url}/{ID}")
    remove_cached(ID)
    assert list_cached() == []
    _interrupt(server, data, monkeypatch)
    remove_cached()
    assert [n for n in _files(tmp_path / "cache") if not n.endswith(".lock")] == []
    with pytest.raises(ValueError, match="see: zoo cache list"):
        remove_cached(ID)


def test_nobody_claims_a_download_that_is_under_way(server):
    pin = cache_module.Pin(ID, 1, "0" * 64)
    cache_module.incoming().mkdir(parents=True)
    first = staging_module.claim_staging(pin)
    assert staging_module.claim_staging(pin) != first
    staging_module.release_staging(pin, first)
    assert not first.exists()


def test_nothing_is_ever_unpickled(server, data, monkeypatch, tmp_path):
    """A pickle in the place of every file runs nothing."""
    marker = tmp_path / "ran"
    pickled = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    for name in (data, "card.md", "manifest.json"):
        (server.folder / ID / name).write_bytes(pickled)
    _refused("has|sent")
    with pytest.raises(ValueError):
        load_weights(server.folder / ID, {})
    assert not marker.exists()


def test_data_sets_and_weights_share_one_downloader(tmp_path):
    from zoo.data import download

    assert download.transfer.fetch is fetch
    with pytest.raises(DownloadError, match="is not https"):
        fetch(["http://example.org/x"], tmp_path / "x", Digest("0" * 64), part=tmp_path / "part")
