"""Readers beside a trainer at work: never a wrong value, never a write."""

import time

import pytest

from tests.checkpoint.states import abstract, child, same_bits, state_at
from zoo.checkpoint import (
    CheckpointMismatchError,
    NoCheckpointError,
    RunCheckpoints,
    arrays,
    housekeeping,
    integrity,
    read_checkpoint,
    read_record,
)

STATE = abstract(state_at(0))
SECONDS = 2.0

READ_FOR_EVER = """
import sys, time
from tests.checkpoint.states import abstract, same_bits, state_at
from zoo.checkpoint import read_checkpoint
target, count = abstract(state_at(0)), 0
print("reading", flush=True)
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    restored = read_checkpoint(sys.argv[1], target)
    assert same_bits(restored.state, state_at(restored.step)), restored.step
    count += 1
print(count)
"""


@pytest.mark.fault("B18", "B19", "C7")
def test_a_reader_beside_a_trainer_that_deletes_reads_only_exact_steps(tmp_path):
    with RunCheckpoints(tmp_path, keep_last=1, keep_best=0) as checkpoints:
        checkpoints.save(1, state_at(1))
        checkpoints.wait()
        reader = child(READ_FOR_EVER, tmp_path, SECONDS)
        assert reader.stdout.readline() == "reading\n"
        end, step = time.monotonic() + SECONDS, 1
        while time.monotonic() < end:
            step += 1
            checkpoints.save(step, state_at(step))
        assert checkpoints.latest_step == step
    out, err = reader.communicate(timeout=60)
    assert reader.returncode == 0, err
    assert int(out) > 5
    assert "Traceback" not in err
    assert same_bits(read_checkpoint(tmp_path, STATE).state, state_at(step))


@pytest.mark.fault("B18")
def test_a_step_deleted_while_being_read_is_read_to_its_end(tmp_path, monkeypatch):
    deleted = tmp_path / "checkpoints" / "2"

    with RunCheckpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_at(step))
    load = arrays.load

    def delete_then_load(directory, *args, **kwargs):
        if deleted.exists():
            housekeeping.trash(deleted)
        return load(directory, *args, **kwargs)

    monkeypatch.setattr(arrays, "load", delete_then_load)
    assert same_bits(read_checkpoint(tmp_path, STATE).state, state_at(2))
    assert not deleted.exists()


@pytest.mark.fault("B18")
def test_a_step_deleted_before_it_is_opened_is_replaced_by_the_next(tmp_path, monkeypatch, caplog):
    with RunCheckpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_at(step))
    pinned = integrity.pinned

    def delete_then_pin(directory, names):
        if directory.name == "2":
            housekeeping.trash(directory)
        return pinned(directory, names)

    monkeypatch.setattr(integrity, "pinned", delete_then_pin)
    assert read_checkpoint(tmp_path, STATE).step == 1
    assert "step 2 was deleted while being read" in caplog.text


def test_a_part_of_a_state_is_read_alone_when_asked(tmp_path):
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_at(1))
    params = {"params": state_at(1).params}
    with pytest.raises(CheckpointMismatchError, match="only in the checkpoint: opt_state/0/mu/"):
        read_checkpoint(tmp_path, abstract(params))
    assert same_bits(read_checkpoint(tmp_path, abstract(params), partial=True).state, params)
    with pytest.raises(CheckpointMismatchError, match="missing in the checkpoint: more"):
        read_checkpoint(tmp_path, abstract({**params, "more": params["params"]}), partial=True)


@pytest.mark.fault("B5")
def test_an_empty_run_says_so(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(NoCheckpointError, match="no complete step"):
        read_checkpoint(tmp_path, STATE)
    with pytest.raises(NoCheckpointError, match="no complete step"):
        read_record(tmp_path, "best")
