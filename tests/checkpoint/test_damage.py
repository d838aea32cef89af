"""No damaged byte of a step is ever restored; resuming falls back to the newest whole step."""

import json
import shutil

import jax.numpy as jnp
import pytest

from tests.checkpoint.states import (
    DAMAGES,
    abstract,
    damage,
    files_below,
    same_bits,
    snapshot,
    state_at,
)
from zoo.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    NoCheckpointError,
    RunCheckpoints,
    list_steps,
    read_checkpoint,
    read_record,
)

STATE = abstract(state_at(0))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A run with steps 1 and 2."""
    run = tmp_path_factory.mktemp("pristine")
    with RunCheckpoints(run) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_at(step), metrics={"top1": 0.5})
    return run


@pytest.fixture
def copied(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "run", symlinks=True)


@pytest.mark.fault("A18", "B1", "B2", "B4")
@pytest.mark.parametrize("kind", DAMAGES)
def test_every_damage_of_every_file_is_detected_and_skipped(pristine, tmp_path, kind, caplog):
    names = [p.relative_to(pristine) for p in files_below(pristine / "checkpoints" / "2")]
    assert len(names) >= 8
    for number, name in enumerate(names):
        run = shutil.copytree(pristine, tmp_path / str(number))
        changed = damage(run / name, kind, tmp_path)
        caplog.clear()
        restored = read_checkpoint(run, STATE)
        assert restored.step == (1 if changed else 2), name
        assert same_bits(restored.state, state_at(restored.step))
        if changed:
            assert "step 2" in caplog.text or "checkpoints/2" in caplog.text
            assert name.name in caplog.text
            with pytest.raises(CheckpointError, match=r"restore another step|not finished|not a"):
                read_checkpoint(run, STATE, 2)


@pytest.mark.fault("B1")
@pytest.mark.slow
def test_every_flipped_bit_of_the_smallest_files_is_detected(copied):
    for path in files_below(copied / "checkpoints" / "2"):
        content = path.read_bytes()
        for bit in range(0, 8 * len(content), max(1, len(content) // 50)):
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with pytest.raises(DamagedCheckpointError):
                read_checkpoint(copied, STATE, 2)
        path.write_bytes(content)


@pytest.mark.fault("B2")
def test_an_extra_file_is_damage(copied):
    (copied / "checkpoints" / "2" / "state" / "d" / "extra").write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match="state/d/extra is extra"):
        read_checkpoint(copied, STATE, 2)


@pytest.mark.fault("B4")
def test_the_trainer_resumes_from_the_newest_whole_step_and_names_the_damaged_one(copied, caplog):
    (copied / "checkpoints" / "2" / "state" / "manifest.ocdbt").write_bytes(b"")
    with RunCheckpoints(copied) as checkpoints:
        assert checkpoints.latest_step == 1
        assert "state/manifest.ocdbt has 0 bytes" in caplog.text
        assert same_bits(checkpoints.restore(STATE).state, state_at(1))
        with pytest.raises(DamagedCheckpointError, match="manifest"):
            checkpoints.restore(STATE, step=2)
        checkpoints.save(2, state_at(2))
    assert read_checkpoint(copied, STATE).step == 2
    assert (copied / "checkpoints" / "archived-2").is_dir()


@pytest.mark.fault("B5")
def test_all_damaged_is_an_error_and_not_a_fresh_start(copied):
    for step in (1, 2):
        (copied / "checkpoints" / str(step) / "state" / "_METADATA").unlink()
    with RunCheckpoints(copied) as checkpoints:
        assert checkpoints.steps == []
        with pytest.raises(DamagedCheckpointError, match=r"no step .* is intact: .*_METADATA"):
            _ = checkpoints.latest_step
    with pytest.raises(DamagedCheckpointError):
        read_checkpoint(copied, STATE)


@pytest.mark.fault("B16")
def test_a_record_of_a_newer_format_is_refused_by_version(copied):
    from zoo.checkpoint import layout

    path = copied / "checkpoints" / "2" / "record.json"
    content = json.loads(path.read_bytes())
    content["body"]["format"] = layout.FORMAT + 1
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedCheckpointError, match=r"format 2, .* reads up to 1; upgrade"):
        read_checkpoint(copied, STATE, 2)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b'{"body": 3}', b"[" * 100_000, b"\xff"])
def test_a_garbled_record_is_one_sentence(copied, content):
    (copied / "checkpoints" / "2" / "record.json").write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=r"record.json is no valid record"):
        read_record(copied, 2)


def test_a_step_copied_under_another_number_is_refused(copied):
    shutil.copytree(copied / "checkpoints" / "1", copied / "checkpoints" / "5")
    with pytest.raises(DamagedCheckpointError, match="holds step 1"):
        read_checkpoint(copied, STATE, 5)
    assert list_steps(copied) == [1, 2]


@pytest.mark.fault("B19", "C7")
def test_a_frozen_run_directory_reads_and_stays_as_it_is(copied):
    before = snapshot(copied)
    list_steps(copied)
    read_record(copied)
    read_checkpoint(copied, STATE, "best")
    with pytest.raises(CheckpointError):
        read_checkpoint(copied, {"other": jnp.ones(3)})
    assert snapshot(copied) == before


@pytest.mark.fault("B20")
def test_a_path_may_name_the_run_its_steps_or_one_step(copied, monkeypatch):
    monkeypatch.chdir(copied.parent)
    monkeypatch.setenv("HOME", str(copied.parent))
    paths = {
        copied: 2,
        str(copied) + "/": 2,
        "run": 2,
        "./run/../run": 2,
        "~/run": 2,
        "run/checkpoints": 2,
        "run/checkpoints/1": 1,
        "run/checkpoints/1/state": 1,
    }
    for path, step in paths.items():
        assert read_checkpoint(path, STATE).step == step, path
        assert read_record(path).step == step, path
        assert list_steps(path) == [1, 2], path


@pytest.mark.fault("B12", "B20")
def test_a_wrong_path_says_what_was_probably_meant(copied):
    (copied.parent / "w.safetensors").write_bytes(b"\0" * 9)
    (copied.parent / "w.pt").write_bytes(b"PK\3\4")
    table = {
        copied.parent / "rum": r"does not exist; did you mean .*/run\?",
        copied.parent: r"holds no checkpoints; did you mean .*/run\?",
        copied.parent / "w.safetensors": "is a safetensors file, not the directory of a run",
        copied.parent / "w.pt": "is a zip, npz or torch file",
        copied / "checkpoints" / "7": "does not exist",
    }
    for path, message in table.items():
        with pytest.raises(NoCheckpointError, match=message):
            list_steps(path)
    with pytest.raises(CheckpointError, match="cannot train in .*w.pt: Not a directory"):
        RunCheckpoints(copied.parent / "w.pt").__enter__()
