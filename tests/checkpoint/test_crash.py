"""A trainer killed at any moment loses at most the save under way, and continues exactly."""

import itertools
import random
import subprocess
import sys
import time

import pytest

from tests.checkpoint.model import Model
from tests.checkpoint.states import REPOSITORY, abstract, child, same_bits, state_at
from zoo.checkpoint import RunCheckpoints, list_steps, read_checkpoint, read_record

LAST = 5
STATE = abstract(state_at(0))


def start(run, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.checkpoint.trainer", str(run), *map(str, arguments)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, -9), err
    saved = [int(line.split()[1]) for line in out.splitlines() if line.startswith("saved")]
    return process.returncode, saved, out


def require_survivors(run, saved):
    """Everything reported as saved and kept is there, exact; so is everything listed."""
    if not (run / "checkpoints").exists():
        assert not saved
        return
    for step in list_steps(run):
        assert same_bits(read_checkpoint(run, STATE, step).state, state_at(step))
    if saved:
        newest = read_checkpoint(run, STATE)
        # The save under way may have become complete just before the kill.
        assert newest.step in (saved[-1], saved[-1] + 1)
        assert min(list_steps(run)) <= 2 or saved[-1] < 2


def kill_at_call(run, number):
    code, saved, _ = finish(start(run, LAST, number))
    if code == 0:
        return False
    require_survivors(run, saved)
    # A second trainer, in this process to save time, finds the lock free and goes on.
    with RunCheckpoints(run, keep_last=1, keep_best=1) as checkpoints:
        names = {p.name for p in (run / "checkpoints").iterdir()}
        assert all(name.isdecimal() for name in names)
        newest = checkpoints.latest_step
        assert newest is not None or not saved
        if newest is not None:
            assert same_bits(checkpoints.restore(STATE).state, state_at(newest))
        checkpoints.save(LAST + 1, state_at(LAST + 1))
    assert read_checkpoint(run, STATE).step == LAST + 1
    return True


@pytest.fixture(scope="module")
def calls_of_a_whole_run(tmp_path_factory):
    code, saved, out = finish(start(tmp_path_factory.mktemp("whole") / "run", LAST))
    assert (code, saved) == (0, list(range(1, LAST + 1)))
    return int(out.split()[-1])


@pytest.mark.fault("C1", "C8")
@pytest.mark.parametrize("fraction", [0.45, 0.7, 0.9])
def test_killed_at_a_file_operation_it_keeps_every_saved_step(
    tmp_path, calls_of_a_whole_run, fraction
):
    assert kill_at_call(tmp_path / "run", int(fraction * calls_of_a_whole_run))


@pytest.mark.fault("C1", "C8")
@pytest.mark.slow
def test_killed_at_each_file_operation_it_keeps_every_saved_step(tmp_path, calls_of_a_whole_run):
    survived = [
        number
        for number in range(1, calls_of_a_whole_run + 1)
        if not kill_at_call(tmp_path / str(number), number)
    ]
    # Scheduling moves a few calls from run to run, so only the last ones may not be reached.
    assert all(number > 0.9 * calls_of_a_whole_run for number in survived)


def kill_at_random_moments(run, trials, rng):
    target = 4
    for _ in range(trials):
        target += 4
        process = start(run, target)
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.6))
        process.kill()
        _, saved, _ = finish(process)
        require_survivors(run, saved)


@pytest.mark.fault("C1")
def test_killed_at_random_moments_it_keeps_every_saved_step(tmp_path):
    kill_at_random_moments(tmp_path / "run", 2, random.Random(0))


@pytest.mark.fault("C1")
@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_keeps_every_saved_step(tmp_path):
    kill_at_random_moments(tmp_path / "run", 20, random.Random(1))


LEAVE = """
import sys, os
from tests.checkpoint.states import state_at
from zoo.checkpoint import RunCheckpoints
run, how = sys.argv[1:]
def leave():
    if how == "raise": raise RuntimeError("mine")
    if how == "interrupt": raise KeyboardInterrupt
if how == "unclosed":
    checkpoints = RunCheckpoints(run).__enter__()
    checkpoints.save(1, state_at(1))
    checkpoints.wait()
    checkpoints.save(2, state_at(2))
else:
    with RunCheckpoints(run) as checkpoints:
        checkpoints.save(1, state_at(1))
        checkpoints.save(2, state_at(2))
        leave()
"""


@pytest.mark.fault("C3")
@pytest.mark.parametrize(
    ("how", "code", "saved"),
    [
        ("return", 0, [1, 2]),
        ("raise", 1, [1, 2]),
        ("interrupt", -2, [1, 2]),
        ("unclosed", 0, [1]),
    ],
)
def test_every_way_out_of_the_with_statement_finishes_the_save(tmp_path, how, code, saved):
    process = child(LEAVE, tmp_path, how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert ("step 2 may be lost" in err) == (how == "unclosed")
    assert [s for s in list_steps(tmp_path) if s <= 2] == saved
    assert same_bits(read_checkpoint(tmp_path, STATE).state, state_at(saved[-1]))


def replay(model, lines, run):
    """The history that a killed writer left in its journal; its last save may be half done."""
    for line, following in itertools.zip_longest(lines, lines[1:]):
        word, *values = line.split()
        if word == "open":
            model.position = None
        elif word == "back":
            model.position = int(values[0])
        elif word == "save":
            save = int(values[0]), int(values[1]), float(values[2])
            if following == "saved":
                model.save(*save)
            else:
                there = set(list_steps(run))
                model.kill_while_saving(*save, there, lambda s: read_record(run, s).record["seed"])
    assert list_steps(run) == sorted(model.kept)


@pytest.mark.fault("C1", "C11")
@pytest.mark.slow
def test_killed_at_sixty_moments_a_run_that_goes_back_and_forth_is_what_the_model_says(tmp_path):
    run, journal, model, chance = tmp_path / "run", tmp_path / "journal", Model(), random.Random(2)
    for kill in range(60):
        journal.write_text("")
        command = [sys.executable, "-m", "tests.checkpoint.wanderer", run, journal, str(kill + 1)]
        process = subprocess.Popen(command, cwd=REPOSITORY)
        while "saved" not in journal.read_text():
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(chance.uniform(0.0, 0.7))
        process.kill()
        process.wait()
        replay(model, journal.read_text().splitlines(), run)
        for step, (seed, _) in model.kept.items():
            assert same_bits(read_checkpoint(run, STATE, step).state, state_at(seed))
