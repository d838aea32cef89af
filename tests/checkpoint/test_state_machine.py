"""A run directory through any sequence of what happens to one, beside a model held in memory."""

import atexit
import contextlib
import itertools
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.checkpoint.model import KEEP_BEST, KEEP_LAST, Model
from tests.checkpoint.states import abstract, dead_after, same_bits
from zoo.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    NoCheckpointError,
    RunCheckpoints,
    RunInUseError,
    arrays,
    file_digests,
    integrity,
    layout,
    list_steps,
    load_weights,
    read_checkpoint,
    read_record,
    save_weights,
    tree,
)


def state_of(seed: int) -> dict[str, Any]:
    kernel = np.random.default_rng(seed).standard_normal((2, 3))
    return {"params": {"kernel": jnp.asarray(kernel, jnp.float32)}, "count": jnp.int32(seed)}


STATE = abstract(state_of(0))


class RunDirectory(RuleBasedStateMachine):
    """One directory, and who is at work on it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.run = self.folder / "run"
        self.steps = self.run / "checkpoints"
        self.steps.mkdir(parents=True)
        self.writer: RunCheckpoints | None = None
        self.model = Model()
        self.damaged: set[int] = set()
        self.published: dict[Path, tuple[int, Any]] = {}
        self.reader: tuple[int, Path] | None = None
        self.reading = contextlib.ExitStack()
        self.seeds = itertools.count(1)

    def teardown(self) -> None:
        self.reading.close()
        if self.writer is not None:
            self.leave()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.enter()
        self.save(1, 0.5)

    @invariant()
    def exactly_the_kept_steps_are_listed(self) -> None:
        assert list_steps(self.run) == sorted(self.model.kept)

    @precondition(lambda self: self.writer is None)
    @rule()
    def enter(self) -> None:
        checkpoints = RunCheckpoints(self.run, keep_last=KEEP_LAST, keep_best=KEEP_BEST)
        self.writer, self.model.position = checkpoints.__enter__(), None
        names = [path.name for path in self.steps.iterdir()]
        assert all(name.isdecimal() or name.startswith("archived-") for name in names)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def leave(self) -> None:
        writer, self.writer = self._writer, None
        writer.__exit__(None, None, None)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def second_writer(self) -> None:
        with pytest.raises(RunInUseError, match=f"process {os.getpid()} on"):
            RunCheckpoints(self.run).__enter__()

    @precondition(lambda self: self.writer is not None and self.model.kept)
    @rule(data=st.data())
    def go_back(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from([None, *sorted(self.model.kept)]))
        restored = self._writer.restore(STATE, step)
        assert restored.step == (max(self.model.kept) if step is None else step)
        assert same_bits(restored.state, state_of(self.model.kept[restored.step][0]))
        self.model.position = restored.step

    @precondition(lambda self: self.writer is not None)
    @rule(ahead=st.integers(1, 2), metric=st.sampled_from((0.1, 0.5, 0.9, math.nan)))
    def save(self, ahead: int, metric: float) -> None:
        step, seed = self._next(ahead), next(self.seeds)
        self._save(step, seed, metric)
        self.model.save(step, seed, metric)

    @precondition(lambda self: self.writer is not None)
    @rule(ahead=st.integers(1, 2), metric=st.sampled_from((0.1, 0.9)), calls=st.integers(0, 60))
    def killed_while_saving(self, ahead: int, metric: float, calls: int) -> None:
        step, seed = self._next(ahead), next(self.seeds)
        with dead_after(calls), contextlib.suppress(CheckpointError):
            self._save(step, seed, metric)
        self._die()
        there = set(list_steps(self.run))
        self.model.kill_while_saving(step, seed, metric, there, self._seed_of)
        for old in there:
            self._require_exact(old)

    def _die(self) -> None:
        """What the system does of a process that is gone: its locks go with it."""
        writer, self.writer = self._writer, None
        atexit.unregister(writer._left_open)
        assert writer._lock is not None
        writer._lock.release()

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        """Also by one who knows of steps that are no longer there."""
        step = data.draw(st.integers(0, 1 + max((*self.model.kept, *self.damaged), default=0)))
        if step in self.model.kept:
            self._require_exact(step)
            return
        with pytest.raises(DamagedCheckpointError if step in self.damaged else CheckpointError):
            read_checkpoint(self.run, STATE, step)

    @rule()
    def read_newest(self) -> None:
        if self.model.kept:
            newest = read_checkpoint(self.run, STATE)
            assert newest.step == max(self.model.kept)
            assert same_bits(newest.state, state_of(self.model.kept[newest.step][0]))
        else:
            with pytest.raises((NoCheckpointError, DamagedCheckpointError)):
                read_checkpoint(self.run, STATE)

    @precondition(lambda self: self.reader is None and self.model.kept)
    @rule(data=st.data())
    def reader_begins(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(sorted(self.model.kept)))
        record = layout.read_step_record(self.steps / str(step), hash_files=True)
        pinned = integrity.pinned(self.steps / str(step), record.files)
        self.reader = self.model.kept[step][0], self.reading.enter_context(pinned)

    @precondition(lambda self: self.reader is not None)
    @rule()
    def reader_goes_on(self) -> None:
        """Whatever became of the step since."""
        assert self.reader is not None
        (seed, view), self.reader = self.reader, None
        named, _ = tree.flatten_named(STATE, abstract=True)
        targets = tree.storage_targets(named, tree.array_specs(named))
        read = arrays.load(view, targets, item=layout.ITEM)
        wanted, _ = tree.flatten_named(state_of(seed))
        assert all(np.array_equal(read[name], wanted[name]) for name in wanted)
        self.reading.close()

    @precondition(lambda self: self.writer is None and self.reader is None and self.model.kept)
    @rule(data=st.data(), kind=st.sampled_from(("halved", "longer", "no record")))
    def damage(self, data: st.DataObject, kind: str) -> None:
        step = data.draw(st.sampled_from(sorted(self.model.kept)))
        record = self.steps / str(step) / layout.RECORD_NAME
        file = record.with_name("state") / "_METADATA"
        if kind == "no record":
            record.unlink()
        else:
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2] if kind == "halved" else content + b"\0")
        del self.model.kept[step]
        self.damaged.add(step)

    @rule(seconds=st.sampled_from((0, 2**31, 2**33)))
    def clock_is_wrong(self, seconds: int) -> None:
        """What is there seems to be from long ago, or from the future."""
        for path in self.run.rglob("*"):
            os.utime(path, (seconds, seconds), follow_symlinks=False)

    @precondition(lambda self: self.model.kept)
    @rule(data=st.data(), calls=st.none() | st.integers(0, 20))
    def publish(self, data: st.DataObject, calls: int | None) -> None:
        """The parameters of a step, whole under their name or not there; with `calls`, killed."""
        step = data.draw(st.sampled_from(sorted(self.model.kept)))
        seed, target = self.model.kept[step][0], self.folder / f"weights-{next(self.seeds)}"
        params = read_checkpoint(self.run, STATE, step).state["params"]
        if calls is None:
            save_weights(target, params)
        else:
            # Orbax raises what it likes.
            with dead_after(calls), contextlib.suppress(Exception):
                save_weights(target, params)
        if calls is None or target.exists():
            self.published[target] = seed, file_digests(target)

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def load(self, data: st.DataObject) -> None:
        target = data.draw(st.sampled_from(sorted(self.published)))
        seed, digests = self.published[target]
        assert file_digests(target) == digests
        params = load_weights(target, STATE["params"])
        assert same_bits(params, state_of(seed)["params"])
        with pytest.raises(CheckpointError, match="is not empty"):
            save_weights(target, state_of(0)["params"])

    @property
    def _writer(self) -> RunCheckpoints:
        assert self.writer is not None
        return self.writer

    def _next(self, ahead: int) -> int:
        newest = max((*self.model.kept, *self.damaged), default=0)
        return (newest if self.model.position is None else self.model.position) + ahead

    def _save(self, step: int, seed: int, metric: float) -> None:
        metrics, record = {"top1": metric}, {"seed": seed}
        self._writer.save(step, state_of(seed), metrics=metrics, record=record)
        self._writer.wait()
        self.damaged = {old for old in self.damaged if old <= self.model.line_until(step)}

    def _seed_of(self, step: int) -> int:
        return read_record(self.run, step).record["seed"]

    def _require_exact(self, step: int) -> None:
        restored = read_checkpoint(self.run, STATE, step)
        assert restored.step == step
        assert same_bits(restored.state, state_of(self.model.kept[step][0]))


def run_machine(examples: int, steps: int, seed: int | None = None) -> None:
    """So many histories of at most so many steps; without a seed the same in every run."""
    run_state_machine_as_test(
        RunDirectory if seed is None else seeded(seed)(type("Other", (RunDirectory,), {})),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=seed is None,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        ),
    )


@pytest.mark.fault("B18", "C1", "C6", "C10", "C11")
def test_a_run_directory_does_what_the_model_says():
    run_machine(examples=8, steps=25)


@pytest.mark.fault("B18", "C1", "C6", "C10", "C11")
@pytest.mark.slow
def test_a_run_directory_does_what_the_model_says_in_long_histories():
    run_machine(examples=100, steps=50)
