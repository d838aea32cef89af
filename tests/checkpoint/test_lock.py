"""One trainer per run directory; the lock dies with its process."""

import fcntl
import os
import signal
import socket
import time

import jax.numpy as jnp
import pytest

from tests.checkpoint.states import child
from zoo.checkpoint import RunCheckpoints, RunInUseError
from zoo.checkpoint.lock import take_run

HOLD = """
import sys, time
from pathlib import Path
from zoo.checkpoint.lock import take_run
lock = take_run(Path(sys.argv[1]))
print("held", flush=True)
"""
WITHOUT_LOCKS = """
import fcntl
def flock(*_):
    raise OSError(38, "Function not implemented")
fcntl.flock = flock
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


@pytest.mark.fault("C6")
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
        take_run(tmp_path).release()
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.communicate()


@pytest.fixture
def no_locks(monkeypatch):
    def unsupported(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)


@pytest.mark.fault("C6")
def test_without_file_locks_a_marker_file_does_the_same(tmp_path, no_locks, caplog):
    first = take_run(tmp_path)
    assert "has no locks (Function not implemented)" in caplog.text
    with pytest.raises(RunInUseError, match=rf"process {os.getpid()} .* remove .*\.lock\.holder"):
        take_run(tmp_path)
    first.release()
    take_run(tmp_path).release()
    assert not (tmp_path / ".lock.holder").exists()


def test_the_marker_of_a_killed_process_is_taken_over(tmp_path, no_locks):
    holder = child(WITHOUT_LOCKS + HOLD_AND_SLEEP, tmp_path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunInUseError, match=f"process {holder.pid} on {socket.gethostname()}"):
        take_run(tmp_path)
    holder.kill()
    holder.communicate()
    take_run(tmp_path).release()


def test_the_marker_of_another_host_is_respected(tmp_path, no_locks):
    (tmp_path / ".lock.holder").write_text("1\nelsewhere\n")
    with pytest.raises(RunInUseError, match="in use by process 1 on elsewhere; .* remove"):
        take_run(tmp_path)
