"""Steps of a run: exact round trip, retention, going back, refusals."""

import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.checkpoint.states import State, abstract, same_bits, state_at
from zoo.checkpoint import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointSaveError,
    DamagedCheckpointError,
    NoCheckpointError,
    NonFiniteError,
    RunCheckpoints,
    UnsupportedStateError,
    arrays,
    housekeeping,
    list_steps,
    read_checkpoint,
    read_record,
)

SMALL = {"w": jnp.arange(6.0).reshape(2, 3)}


def small(step):
    return {"w": jnp.full((2, 3), float(step))}


def test_every_kind_of_leaf_is_restored_bit_by_bit(tmp_path):
    state = state_at(7)
    record = {"config": {"lr": 0.1, "name": "é"}, "sizes": [1, 2]}
    with RunCheckpoints(tmp_path) as checkpoints:
        assert checkpoints.latest_step is None
        checkpoints.save(7, state, metrics={"top1": 0.25, "loss": math.inf}, record=record)
        assert checkpoints.latest_step == 7
        restored = checkpoints.restore(abstract(state))
    assert same_bits(restored.state, state)
    assert isinstance(restored.state, State)
    assert (restored.step, restored.record) == (7, record)
    assert restored.metrics == {"top1": 0.25, "loss": math.inf}


def test_numpy_leaves_are_restored_as_jax_arrays(tmp_path):
    state = {"scalar": np.float32(0.5), "array": np.arange(3, dtype=np.uint8)}
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(np.int64(1), state)
        restored = checkpoints.restore(abstract(state)).state
    assert same_bits(restored, state)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


@pytest.mark.fault("B15")
@pytest.mark.parametrize("name", ["threefry2x32", "rbg"])
def test_prng_keys_keep_their_implementation(tmp_path, name):
    state = {"key": jax.random.key(3, impl=name)}
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        restored = checkpoints.restore(abstract(state)).state
    assert same_bits(restored, state)


def test_arrays_may_be_donated_or_overwritten_as_soon_as_save_returns(tmp_path):
    host = np.arange(1 << 20, dtype=np.float32)
    device = jnp.arange(1 << 20, dtype=jnp.float32)
    expected = host.copy()
    overwrite = jax.jit(lambda a: a * 0 - 1, donate_argnums=0)
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"host": host, "device": device})
        host[:] = -1
        overwrite(device).block_until_ready()
        restored = checkpoints.restore(abstract({"host": host, "device": device})).state
    assert same_bits(restored, {"host": jnp.asarray(expected), "device": jnp.asarray(expected)})


NAN = math.nan
# (metrics per step from step 1 on, keep_last, keep_best, mode, steps that stay)
RETENTION = [
    ([0.1, 0.2, 0.3, 0.4, 0.5], 2, 0, "max", [4, 5]),
    ([0.9, 0.5, 0.8, 0.7, 0.6], 1, 1, "min", [2, 5]),
    ([0.9, 0.5, NAN, 0.7, 0.6], 1, 1, "min", [2, 5]),
    ([0.9, 0.5, 0.7, NAN], 1, 1, "min", [2, 4]),
    ([0.1, 0.9, 0.3, 0.8, 0.2], 1, 2, "max", [2, 4, 5]),
    ([0.5, math.inf, 0.4, 0.3, 0.2], 1, 1, "max", [1, 5]),
    ([0.5, -math.inf, 0.4, 0.6], 1, 1, "min", [3, 4]),
    ([NAN, NAN, NAN], 2, 1, "max", [2, 3]),
    ([0.5, 0.5, 0.5, 0.5], 1, 1, "max", [1, 4]),
    ([None, 0.1, None, None], 1, 1, "max", [2, 4]),
    ([0.5, 0.4, 0.3, 0.2, 0.1], 2, 1, "max", [1, 4, 5]),
]


@pytest.mark.fault("C9", "C10")
@pytest.mark.parametrize(("values", "last", "best", "mode", "kept"), RETENTION)
def test_the_latest_and_the_best_stay_and_nan_is_never_best(
    tmp_path, values, last, best, mode, kept
):
    with RunCheckpoints(
        tmp_path, keep_last=last, keep_best=best, best_metric="m", best_mode=mode
    ) as checkpoints:
        for step, value in enumerate(values, 1):
            checkpoints.save(step, SMALL, metrics={} if value is None else {"m": value})
        checkpoints.wait()
        assert checkpoints.steps == kept
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == sorted(map(str, kept))


def test_the_first_step_stays_where_that_is_asked_for(tmp_path):
    with RunCheckpoints(tmp_path, keep_last=1, keep_best=1, keep_first=True) as checkpoints:
        for step, value in enumerate([None, 0.2, 0.9, 0.3, 0.4]):
            checkpoints.save(step, SMALL, metrics={} if value is None else {"top1": value})
        checkpoints.wait()
        assert checkpoints.steps == [0, 2, 4]


def test_the_best_step_can_be_read_by_that_name(tmp_path):
    with RunCheckpoints(tmp_path) as checkpoints:
        for step, top1 in enumerate([0.3, 0.9, 0.5, 0.4], 1):
            checkpoints.save(step, small(step), metrics={"top1": top1})
    best = read_checkpoint(tmp_path, abstract(SMALL), "best")
    assert (best.step, float(best.state["w"][0, 0])) == (2, 2.0)
    assert read_record(tmp_path, "best").metrics == {"top1": 0.9}


@pytest.mark.fault("C11")
def test_going_back_archives_the_later_steps(tmp_path, caplog):
    with RunCheckpoints(tmp_path, keep_last=20) as checkpoints:
        for step in range(1, 9):
            checkpoints.save(step, small(step))
    with RunCheckpoints(tmp_path, keep_last=20) as checkpoints:
        assert checkpoints.restore(abstract(SMALL), step=5).step == 5
        assert checkpoints.steps[-1] == 8
        checkpoints.save(6, small(60))
        checkpoints.wait()
        assert checkpoints.steps == [1, 2, 3, 4, 5, 6]
        assert checkpoints.archived == ["archived-6", "archived-7", "archived-8"]
        again = checkpoints.restore(abstract(SMALL))
        assert (again.step, float(again.state["w"][0, 0])) == (6, 60.0)
    assert "archived-8" in caplog.text
    old = read_checkpoint(tmp_path / "checkpoints" / "archived-6", abstract(SMALL))
    assert float(old.state["w"][0, 0]) == 6.0


@pytest.mark.fault("C11")
def test_a_run_started_over_archives_steps_it_would_overwrite(tmp_path):
    for value in (1, 2):
        with RunCheckpoints(tmp_path) as checkpoints:
            checkpoints.save(10, small(value))
    assert read_checkpoint(tmp_path, abstract(SMALL)).state["w"][0, 0] == 2
    assert (tmp_path / "checkpoints" / "archived-10").is_dir()


@pytest.mark.fault("C11")
@pytest.mark.parametrize("step", [5, 4, -1])
def test_steps_must_increase(tmp_path, step):
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(5, SMALL)
        with pytest.raises(CheckpointError, match=f"cannot save step {step}"):
            checkpoints.save(step, SMALL)


@pytest.mark.fault("C14")
def test_non_finite_parameters_are_kept_aside_and_never_the_latest(tmp_path):
    bad = {"w": SMALL["w"].at[1, 1].set(jnp.nan), "fine": jnp.ones(2)}
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": SMALL["w"], "fine": jnp.ones(2)})
        for _ in range(2):
            with pytest.raises(NonFiniteError, match=r"step 2 .* 1 arrays .*\(w\)") as caught:
                checkpoints.save(2, bad)
        assert checkpoints.latest_step == 1
        assert list(caught.value.names) == ["w"]
    debug = read_checkpoint(tmp_path / "checkpoints" / "debug-2", abstract(bad))
    assert same_bits(debug.state, bad)


UNSUPPORTED = {
    "empty tree": ({}, "no leaves"),
    "zero size": ({"a": jnp.zeros((0, 3))}, r"\['a'\] has no elements"),
    "python number": ({"a": {"lr": 0.1}}, r"\['a'\]\['lr'\] is a float; only arrays"),
    "text": ({"a": "x"}, "is a str"),
    "object array": ({"a": np.array([object()])}, "has dtype object"),
    "64 bit": ({"a": np.zeros(2)}, "float64, which JAX would shorten"),
    "same name": ({"a": {"1": jnp.ones(1), 1: jnp.ones(1)}}, "same name"),
    "slash": ({"a/b": jnp.ones(1)}, "holds '/'"),
    "empty name": ({"": jnp.ones(1)}, "empty"),
}


@pytest.mark.fault("B14", "C15")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_cannot_be_stored_is_refused_by_path(tmp_path, case):
    tree, message = UNSUPPORTED[case]
    if case == "same name":

        class Both(dict):
            pass

        jax.tree_util.register_pytree_with_keys(
            Both,
            lambda d: (
                [(jax.tree_util.DictKey(k), v) for k, v in d.items()],
                tuple(d),
            ),
            lambda keys, values: Both(zip(keys, values, strict=True)),
        )
        tree = {"a": Both(tree["a"])}
    with RunCheckpoints(tmp_path) as checkpoints:
        with pytest.raises(UnsupportedStateError, match=message):
            checkpoints.save(1, tree)
        assert checkpoints.steps == []


@pytest.mark.fault("B14")
def test_nested_and_dotted_names_do_not_collide(tmp_path):
    state = {"a": {"b": jnp.ones(2)}, "a.b": jnp.zeros(2)}
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        assert same_bits(checkpoints.restore(abstract(state)).state, state)


@pytest.mark.fault("B6", "B7", "D16")
def test_every_difference_is_listed_before_anything_is_read(tmp_path, monkeypatch):
    stored = {"same": jnp.ones(2), "gone": jnp.ones(3), "w": jnp.ones((4, 10)), "d": jnp.ones(2)}
    wanted = {
        "same": jnp.ones(2),
        "new": jnp.ones(5),
        "w": jnp.ones((4, 1000)),
        "d": jnp.ones(2, jnp.int8),
    }
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, stored)
    monkeypatch.setattr("zoo.checkpoint.arrays.load", None)
    with pytest.raises(CheckpointMismatchError) as caught:
        read_checkpoint(tmp_path, abstract(wanted), cast=True)
    assert sorted(caught.value.differences) == [
        "missing in the checkpoint: new float32[5]",
        "only in the checkpoint: gone float32[3]",
        "other dtype: d is float32[2] in the checkpoint, int8[2] asked",
        "other shape: w is float32[4,10] in the checkpoint, float32[4,1000] asked",
    ]


@pytest.mark.fault("B8")
def test_floats_change_type_only_when_asked_and_only_if_they_fit(tmp_path):
    state = {"w": jnp.array([1.0, 1e6, -2.5]), "n": jnp.int32(3)}
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    with pytest.raises(CheckpointMismatchError, match="cast=True allows float to float"):
        read_checkpoint(tmp_path, abstract(state, dtype=jnp.bfloat16))
    restored = read_checkpoint(tmp_path, abstract(state, dtype=jnp.bfloat16), cast=True).state
    assert same_bits(restored, {"w": state["w"].astype(jnp.bfloat16), "n": state["n"]})
    with pytest.raises(CheckpointError, match=r"too large .* w \(float32 -> float16\)"):
        read_checkpoint(tmp_path, abstract(state, dtype=jnp.float16), cast=True)


@pytest.mark.fault("C5")
def test_a_failed_save_is_raised_by_the_next_call_and_leaves_nothing(tmp_path, monkeypatch):
    full = "RESOURCE_EXHAUSTED: Error writing \"w/0\" No space left [os_error_code='28']"

    def failing(directory, arrays, **_):
        temporary = directory.with_name(directory.name + ".orbax-checkpoint-tmp")
        temporary.mkdir()
        (temporary / "part").write_bytes(b"x" * 100)

        def finish():
            raise ValueError(full)

        return finish

    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, small(1))
        checkpoints.wait()
        with monkeypatch.context() as patch:
            patch.setattr(arrays, "start_saving", failing)
            checkpoints.save(2, small(2))
        with pytest.raises(CheckpointSaveError, match="step 2 .*disk .* is full") as caught:
            checkpoints.save(3, small(3))
        assert caught.value.out_of_space
        assert (caught.value.step, caught.value.path) == (2, tmp_path / "checkpoints" / "2")
        assert checkpoints.latest_step == 1
        assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]
        # The same step may be tried again.
        checkpoints.save(2, small(2))
    assert list_steps(tmp_path) == [1, 2]


@pytest.mark.fault("C4")
def test_a_disk_full_at_the_record_leaves_no_step(tmp_path, monkeypatch):
    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointSaveError, match="is full"):
        with RunCheckpoints(tmp_path) as checkpoints:
            checkpoints.save(1, SMALL)
            checkpoints.wait()
            monkeypatch.setattr("zoo.common.files.write", no_space)
            checkpoints.save(2, SMALL)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]


@pytest.mark.fault("C5")
def test_a_save_that_hangs_is_reported_with_step_and_age(tmp_path, monkeypatch):
    import threading

    release = threading.Event()
    monkeypatch.setattr(arrays, "start_saving", lambda *_, **__: release.wait)
    with pytest.raises(CheckpointSaveError, match=r"step 3 .* still writing after \d+ s"):
        with RunCheckpoints(tmp_path, save_timeout_s=0.05) as checkpoints:
            checkpoints.save(3, SMALL)
            checkpoints.poll()
            checkpoints.wait()
    release.set()


def test_an_error_of_the_caller_is_not_hidden_by_a_failed_save(tmp_path, monkeypatch, caplog):
    def failing(*_, **__):
        raise ValueError("lost the disk")

    with pytest.raises(KeyError, match="mine"):
        with RunCheckpoints(tmp_path) as checkpoints:
            monkeypatch.setattr("zoo.checkpoint.layout.seal", failing)
            checkpoints.save(1, SMALL)
            raise KeyError("mine")
    assert "step 1 was not saved" in caplog.text


def test_leaving_the_context_verifies_the_last_save(tmp_path, monkeypatch):
    whole = housekeeping.retain

    def retain_and_damage(directory, *numbers, **options):
        whole(directory, *numbers, **options)
        (directory / "1" / "state" / "_METADATA").write_bytes(b"")

    monkeypatch.setattr(housekeeping, "retain", retain_and_damage)
    with pytest.raises(DamagedCheckpointError, match="state/_METADATA has 0 bytes"):
        with RunCheckpoints(tmp_path) as checkpoints:
            checkpoints.save(1, SMALL)


@pytest.mark.fault("C8", "C12")
def test_stale_temporaries_and_trash_are_purged_at_the_start(tmp_path):
    root = tmp_path / "checkpoints"
    for name in ("5.orbax-checkpoint-tmp", ".trash-3"):
        (root / name / "state").mkdir(parents=True)
        (root / name / "state" / "x").write_bytes(b"x")
    (root / "notes.txt").write_text("mine")
    with RunCheckpoints(tmp_path):
        assert [p.name for p in root.iterdir()] == ["notes.txt"]


@pytest.mark.fault("B3")
@pytest.mark.parametrize("name", ["12", "007", str(10**30), "latest", "13"])
def test_junk_named_like_a_step_is_no_step(tmp_path, name, caplog):
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, SMALL)
    junk = tmp_path / "checkpoints" / name
    if name == "13":
        junk.symlink_to(tmp_path / "checkpoints" / "1")
    else:
        junk.mkdir()
    with RunCheckpoints(tmp_path) as checkpoints:
        assert (checkpoints.steps, checkpoints.latest_step) == ([1], 1)
        assert ("skipped" in caplog.text) == (name in ("12", "13"))
        checkpoints.restore(abstract(SMALL))
        checkpoints.save(12, SMALL)
    assert list_steps(tmp_path) == [1, 12]


def test_a_missing_step_is_named_with_those_there_are(tmp_path):
    with RunCheckpoints(tmp_path) as checkpoints:
        with pytest.raises(NoCheckpointError, match="no complete step"):
            checkpoints.restore(abstract(SMALL))
        checkpoints.save(3, SMALL)
        with pytest.raises(NoCheckpointError, match=r"no step 7; complete steps: \[3\]"):
            checkpoints.restore(abstract(SMALL), step=7)
        with pytest.raises(CheckpointError, match="must be a JSON object"):
            checkpoints.save(4, SMALL, record={"lr": math.nan})


def test_it_is_used_only_in_a_with_statement(tmp_path):
    with pytest.raises(CheckpointError, match="with statement"):
        RunCheckpoints(tmp_path).save(1, SMALL)


def test_nothing_is_printed_or_logged_by_a_healthy_run(tmp_path, capfd, caplog):
    caplog.set_level(logging.WARNING)
    with RunCheckpoints(tmp_path) as checkpoints:
        checkpoints.save(1, SMALL)
        checkpoints.restore(abstract(SMALL))
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""
