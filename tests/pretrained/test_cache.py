"""The cache under damage, full disks, other users, other processes and sudden death."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from tests import bad_server as bad
from tests.conftest import REPOSITORY
from tests.pretrained.helpers import (
    FETCH,
    files,
    interrupt,
    is_published,
    last_words,
    refused,
    size,
    start_child,
)
from tests.weights import ID
from zoo.cli import main
from zoo.pretrained import cache as cache_module
from zoo.pretrained import download as download_module
from zoo.pretrained import (
    list_cached,
    load_pretrained,
    locate,
    remove_cached,
)
from zoo.pretrained import staging as staging_module
from zoo.transfer import Digest, DownloadError, fetch


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


@pytest.mark.fault("A16")
@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_weight_only_the_damaged_file_is_fetched_again(
    server, data, monkeypatch, damage
):
    folder, _ = locate(ID)
    DAMAGES[damage](folder / data)
    assert list_cached(verify=True)[0].problems
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    refused("is not in the cache whole .*ZOO_OFFLINE is set")
    monkeypatch.delenv("ZOO_OFFLINE")
    server.requests.clear()
    assert is_published(load_pretrained(ID))
    assert [path for path, _ in server.requests] == [f"/{ID}/{data}"]
    assert list_cached(verify=True)[0].problems == ()


@pytest.mark.fault("A18")
def test_a_linked_folder_inside_the_cache_is_not_followed(server, tmp_path):
    folder, _ = locate(ID)
    outside = tmp_path / "outside"
    shutil.move(folder / "weights", outside)
    (outside / "mine").write_text("keep")
    (folder / "weights").symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    assert is_published(load_pretrained(ID))
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before
    assert not (folder / "weights").is_symlink()


@pytest.mark.fault("A13")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO])
def test_a_disk_that_fills_up_is_given_back_its_space(server, monkeypatch, tmp_path, code):
    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(FETCH._Part, "_write", fail)
        match = "no space left in" if code in FETCH.FULL_DISK else "cannot be written"
        assert "ZOO_CACHE" in refused(match)
        assert main(["download", ID]) == (5 if code in FETCH.FULL_DISK else 2)
    assert [n for n in files(tmp_path / "cache") if not n.endswith(".lock")] == []
    assert is_published(load_pretrained(ID))


@pytest.mark.fault("A13")
def test_too_little_room_is_seen_beforehand(server, monkeypatch, capsys):
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda path: usage)
    refused("has 1,000 free; free some or set ZOO_CACHE")
    assert main(["download", ID]) == 5
    assert "has 1,000 free" in capsys.readouterr().err
    assert server.count("card.md") == 0


@pytest.mark.fault("A14")
@pytest.mark.parametrize("inside", ["", "/below"])
def test_a_cache_that_is_a_file_is_one_sentence(server, tmp_path, monkeypatch, inside):
    (tmp_path / "taken").write_text("x")
    monkeypatch.setenv("ZOO_CACHE", f"{tmp_path}/taken{inside}")
    refused("cannot be written .*set ZOO_CACHE")


@pytest.mark.fault("A9")
def test_two_processes_download_once(server, data):
    def slow(handler, content):
        time.sleep(0.3)
        return False

    server.faults[""] = slow
    children = [start_child(), start_child()]
    assert len({last_words(child) for child in children}) == 1
    assert server.count(data) == server.count("card.md") == 1
    server.faults.clear()
    assert is_published(load_pretrained(ID))


@pytest.mark.fault("A10")
def test_without_locks_two_processes_may_download_twice_but_right(server, monkeypatch):
    def slow(handler, content):
        time.sleep(0.2)
        return False

    server.faults[""] = slow
    first = "import fcntl; fcntl.flock = lambda *arguments: None"
    children = [start_child(first), start_child(first)]
    assert len({last_words(child) for child in children}) == 1
    server.faults.clear()
    assert is_published(load_pretrained(ID)) and len(list_cached()) == 1


@pytest.mark.fault("A12")
def test_a_killed_download_is_resumed_by_the_next(server, data):
    server.faults[data] = bad.stall(30)
    child = start_child()
    half, deadline = size(server, data) // 2, time.monotonic() + 30
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
    assert is_published(load_pretrained(ID))
    asked = [given for path, given in server.requests if path.endswith(data)]
    assert asked == [f"bytes={half}-"]


@pytest.mark.fault("A12")
@pytest.mark.slow
def test_killed_at_any_moment_nothing_half_written_is_taken_for_good(server):
    """Twenty kills at random moments, then one run that is left alone."""

    def slow(handler, content):
        time.sleep(0.02)
        return False

    server.faults[""] = slow
    moments = np.random.default_rng(0).uniform(0.0, 0.25, 20)
    for moment in moments:
        server.requests.clear()
        child = start_child()
        while not server.requests and child.poll() is None:
            time.sleep(0.005)
        time.sleep(moment)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert all(not weight.problems for weight in list_cached(verify=True))
        if list_cached() and moment > 0.1:
            remove_cached()
    assert is_published(load_pretrained(ID))


def test_a_file_size_limit_is_a_full_disk(server, data):
    limit = size(server, data) // 2
    first = f"import jax; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    said = last_words(start_child(first))
    assert said.startswith("refused: no space left in") and "ZOO_CACHE" in said
    assert list_cached() == []
    assert is_published(load_pretrained(ID))


@pytest.fixture
def shared_cache(monkeypatch):
    """A cache other users can read; pytest's own folders are closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setenv("ZOO_CACHE", f"{folder}/cache")
        yield


@pytest.mark.fault("A14")
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
    assert ID in last_words(start_child(as_nobody))
    remove_cached()
    said = last_words(start_child(as_nobody))
    assert said.startswith("refused: ") and "cannot be written" in said and "ZOO_CACHE" in said


@pytest.mark.fault("A11")
def test_a_waiting_process_says_for_whom(server, tmp_path, monkeypatch, caplog):
    from zoo.common import locks

    monkeypatch.setattr(locks, "WAITING_MESSAGE_EVERY_S", 0.05)
    monkeypatch.setattr(locks, "_POLL_S", 0.02)
    path = tmp_path / "x.lock"
    code = (
        "import sys, time, pathlib; from zoo.common.locks import waiting_lock\n"
        f"with waiting_lock(pathlib.Path({str(path)!r})):\n"
        "    print('held', flush=True); time.sleep(0.3)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with caplog.at_level("WARNING"), locks.waiting_lock(path):
        pass
    holder.communicate(timeout=10)
    assert f"waiting for process {holder.pid} on" in caplog.text and str(path) in caplog.text


@pytest.mark.fault("A11")
def test_a_holder_that_is_stopped_is_not_waited_for_for_ever(server, monkeypatch, caplog):
    """Its process lives, so the system keeps its lock; the download comes out right without it."""
    server.faults[""] = lambda handler, content: time.sleep(0.1) or False
    child = start_child()
    deadline = time.monotonic() + 30
    while not server.count("manifest.json") and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGSTOP)
    monkeypatch.setenv("ZOO_LOCK_TIMEOUT", "0.3")
    with caplog.at_level("WARNING"):
        assert is_published(load_pretrained(ID))
    assert "was held for 0.3 s; going on without it" in caplog.text
    child.send_signal(signal.SIGCONT)
    assert last_words(child) == str(locate(ID)[0])
    assert is_published(load_pretrained(ID))


@pytest.mark.parametrize("given", ["soon", "-1", "nan"])
def test_a_lock_timeout_is_a_number_of_seconds(server, monkeypatch, given):
    monkeypatch.setenv("ZOO_LOCK_TIMEOUT", given)
    refused(f"ZOO_LOCK_TIMEOUT={given}; give a number of seconds >= 0")


def test_removing_takes_away_a_weight_and_unfinished_downloads(server, data, monkeypatch, tmp_path):
    locate(f"{server.url}/{ID}")
    remove_cached(ID)
    assert list_cached() == []
    interrupt(server, data, monkeypatch)
    remove_cached()
    assert [n for n in files(tmp_path / "cache") if not n.endswith(".lock")] == []
    with pytest.raises(ValueError, match="see: zoo cache list"):
        remove_cached(ID)


def test_nobody_claims_a_download_that_is_under_way(server):
    pin = cache_module.Pin(ID, 1, "0" * 64)
    cache_module.incoming().mkdir(parents=True)
    first = staging_module.claim_staging(pin)
    assert staging_module.claim_staging(pin) != first
    staging_module.release_staging(pin, first)
    assert not first.exists()


def test_data_sets_and_weights_share_one_downloader(tmp_path):
    from zoo.data import download

    assert download.transfer.fetch is fetch
    with pytest.raises(DownloadError, match="is not https"):
        fetch(["http://example.org/x"], tmp_path / "x", Digest("0" * 64), part=tmp_path / "part")
