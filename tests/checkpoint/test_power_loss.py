"""After a power cut a run goes on from the last step that was reported as saved."""

import shutil

import pytest

from tests.checkpoint.states import abstract, same_bits, state_at
from tests.power_loss import Moment, Recorder, put, some_states, states
from zoo.checkpoint import CheckpointError, RunCheckpoints

STATE = abstract(state_at(0))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return record(tmp_path_factory.mktemp("power"))


def record(root):
    """Three steps, of which two are kept, then a return to the second and another third.

    Marked with the seeds of the states that may be found from there on.
    """
    recorder = Recorder(root)
    recorder.mark((None,))
    with recorder.recording():
        with RunCheckpoints(root / "runs" / "mine", keep_best=0) as checkpoints:
            for step in (1, 2, 3):
                checkpoints.save(step, state_at(step), record={"seed": step})
                checkpoints.wait()
                recorder.mark((step, step + 1))
        recorder.mark((3,))
        with RunCheckpoints(root / "runs" / "mine", keep_best=0) as checkpoints:
            checkpoints.restore(STATE, step=2)
            recorder.mark((2, 3, 33))
            checkpoints.save(3, state_at(33), record={"seed": 33})
            checkpoints.wait()
            recorder.mark((33,))
    return recorder


def require_last_saved(allowed, tree, folder):
    """Opening what a power cut left; `allowed`: the seeds of the states that may be the newest."""
    put(tree, folder)
    with RunCheckpoints(folder / "runs" / "mine") as checkpoints:
        try:
            newest = checkpoints.latest_step
        except CheckpointError as error:
            # Of a first save that was under way there may be a damaged rest, which is named.
            assert allowed == (None,) and str(folder) in str(error)
            return
        if newest is None:
            assert None in allowed
        else:
            restored = checkpoints.restore(STATE)
            seed = restored.record["seed"]
            assert seed in allowed or (allowed == (None,) and seed == 1)
            assert same_bits(restored.state, state_at(seed))
        checkpoints.save(7, state_at(7))
    with RunCheckpoints(folder / "runs" / "mine") as checkpoints:
        assert checkpoints.latest_step == 7


def require_all(found, folder):
    """Returns how many there were."""
    number = 0
    for number, (allowed, tree) in enumerate(found, 1):
        require_last_saved(allowed, tree, cut := folder / str(number))
        shutil.rmtree(cut)
    return number


@pytest.mark.fault("C2")
def test_cut_at_random_moments_a_run_restores_what_was_saved(recorded, tmp_path):
    require_all(some_states(recorded, 12), tmp_path)


@pytest.mark.fault("C2")
def test_what_was_saved_last_is_there_whatever_was_not_synced(recorded, tmp_path):
    """At the very moments at which a save is reported, with nothing but what was synced."""
    for number, (events, allowed) in enumerate(recorded.marks[1:]):
        moment = Moment(recorded, events)
        tree = moment.tree(set(moment.pending), "old")
        require_last_saved(allowed, tree, tmp_path / str(number))


@pytest.mark.fault("C2")
@pytest.mark.slow
def test_cut_at_every_moment_a_run_restores_what_was_saved(recorded, tmp_path):
    require_all(states(recorded), tmp_path)
