"""One trainer per run directory; the lock dies with its process."""

import fcntl
import json
import os
import signal
import socket
import time

import jax.numpy as jnp
import pytest

from tests.checkpoint.states import child
from zoo.checkpoint import RunCheckpoints, RunInUseError
from zoo.checkpoint.lock import RunLock

HOLD = """
import sys, time
from pathlib import Path
from zoo.checkpoint.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
"""
HOLD_AND_SLEEP = HOLD + "time.sleep(60)"
HOLD_AND_FORK = (
    HOLD
    + """
import os
worker = os.fork()
if worker:
    print(worker, flush=True)
time.sleep(60)
"""
)


def test_a_second_trainer_is_refused_at_once_until_the_first_is_killed(tmp_path):
    holder = child(HOLD_AND_SLEEP, tmp_path)
    try:
        assert holder.stdout.readline() == "held\n"
        (tmp_path / "checkpoints" / "1.orbax-checkpoint-tmp").mkdir(parents=True)
        start = time.monotonic()
        message = rf"in use by process {holder.pid} on {socket.gethostname()} since 20\d\d-"
        with pytest.raises(RunInUseError, match=message) as caught:
            RunCheckpoints(tmp_path).__enter__()
        assert time.monotonic() - start < 1.0
        assert "\n" not in str(caught.value)
        # The refused one has cleaned nothing.
        assert (tmp_path / "checkpoints" / "1.orbax-checkpoint-tmp").is_dir()
    finally:
        holder.kill()
        holder.communicate()
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": jnp.ones(2)})


def test_a_second_object_in_the_same_process_is_refused(tmp_path):
    with RunCheckpoints(tmp_path):
        with pytest.raises(RunInUseError, match=f"process {os.getpid()} "):
            RunCheckpoints(tmp_path).__enter__()
    with RunCheckpoints(tmp_path):
        pass


def test_a_forked_worker_does_not_keep_the_lock_of_a_killed_trainer(tmp_path):
    holder = child(HOLD_AND_FORK, tmp_path)
    assert holder.stdout.readline() == "held\n"
    worker = int(holder.stdout.readline())
    try:
        holder.kill()
        holder.wait()
        os.kill(worker, 0)
        lock = RunLock(tmp_path)
        lock.acquire()
        lock.release()
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.communicate()


@pytest.fixture
def no_locks(monkeypatch):
    def unsupported(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)


def test_without_file_locks_a_marker_file_does_the_same(tmp_path, no_locks, caplog):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    assert "has no locks (Function not implemented)" in caplog.text
    with pytest.raises(RunInUseError, match=rf"process {os.getpid()} .* remove .*\.lock\.holder"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
    assert not (tmp_path / ".lock.holder").exists()


def test_the_marker_of_a_dead_process_is_taken_over(tmp_path, no_locks):
    dead = child("pass")
    dead.wait()
    dead.communicate()
    holder = {"pid": dead.pid, "host": socket.gethostname(), "since": "2026-01-01"}
    (tmp_path / ".lock.holder").write_text(json.dumps(holder))
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.release()


def test_the_marker_of_another_host_is_respected(tmp_path, no_locks):
    holder = {"pid": 1, "host": "elsewhere", "since": "2026-01-01"}
    (tmp_path / ".lock.holder").write_text(json.dumps(holder))
    with pytest.raises(RunInUseError, match="process 1 on elsewhere since 2026-01-01"):
        RunLock(tmp_path).acquire()
