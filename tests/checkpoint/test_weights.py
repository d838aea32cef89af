"""Published weights: few files, exact, compared before reading, verified to the byte."""

import math
import os
import shutil

import jax.numpy as jnp
import pytest
from orbax.checkpoint import v1 as ocp

from tests.checkpoint.states import DAMAGES, abstract, damage, files_below, same_bits, state_at
from zoo.checkpoint import (
    CheckpointError,
    CheckpointMismatchError,
    DamagedCheckpointError,
    NoCheckpointError,
    file_digests,
    load_weights,
    save_weights,
    verify_files,
)

PARAMS = state_at(1).params


@pytest.fixture
def weights(tmp_path):
    save_weights(tmp_path / "weights", PARAMS)
    return tmp_path / "weights"


def test_float32_and_bfloat16_are_restored_bit_by_bit(weights):
    assert same_bits(load_weights(weights, abstract(PARAMS)), PARAMS)


def test_the_files_are_four_small_ones_without_paths(weights):
    digests = file_digests(weights)
    assert len(digests) == 4
    assert all(name in ("_METADATA", "manifest.ocdbt") or "d/" in name for name in digests)
    for path in files_below(weights):
        assert str(weights.parent).encode() not in path.read_bytes()
    payload = sum(value.nbytes for value in PARAMS.values())
    assert sum(entry["bytes"] for entry in digests.values()) < payload + 4096
    assert [p.name for p in weights.parent.iterdir()] == ["weights"]


def test_a_copy_elsewhere_loads(weights, tmp_path):
    copy = shutil.copytree(weights, tmp_path / "deep" / "er")
    shutil.rmtree(weights)
    assert same_bits(load_weights(copy, abstract(PARAMS)), PARAMS)


def test_weights_are_never_written_over(weights, tmp_path):
    with pytest.raises(CheckpointError, match="not empty"):
        save_weights(weights, PARAMS)
    (tmp_path / "empty").mkdir()
    save_weights(tmp_path / "empty", PARAMS)
    with pytest.raises(CheckpointError, match="NaN or infinity: w"):
        save_weights(tmp_path / "nan", {"w": jnp.array([math.nan])})
    assert not (tmp_path / "nan").exists()


@pytest.mark.fault("B6", "B7")
def test_every_difference_is_listed_before_anything_is_read(weights, monkeypatch):
    wanted = dict(PARAMS)
    del wanted["stages.0.blocks.07.conv1.bias"]
    wanted["head.kernel"] = jnp.ones((8, 1000))
    wanted["head.bias"] = jnp.ones(1000)
    monkeypatch.setattr("zoo.checkpoint.arrays.load", None)
    with pytest.raises(CheckpointMismatchError, match="3 differences") as caught:
        load_weights(weights, abstract(wanted))
    assert caught.value.differences == (
        "missing in the checkpoint: head.bias float32[1000]",
        "only in the checkpoint: stages.0.blocks.07.conv1.bias bfloat16[8]",
        "other shape: head.kernel is float32[8,10] in the checkpoint, float32[8,1000] asked",
    )


def test_floats_change_type_only_when_asked(weights):
    with pytest.raises(CheckpointMismatchError, match="other dtype"):
        load_weights(weights, abstract(PARAMS, dtype=jnp.float32))
    loaded = load_weights(weights, abstract(PARAMS, dtype=jnp.float32), cast=True)
    assert same_bits(loaded, {name: value.astype(jnp.float32) for name, value in PARAMS.items()})


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_damage_of_every_file_is_named(weights, tmp_path, kind):
    digests = file_digests(weights)
    verify_files(weights, digests)
    for number, name in enumerate(digests):
        copy = shutil.copytree(weights, tmp_path / str(number))
        assert damage(copy / name, kind, tmp_path)
        with pytest.raises(DamagedCheckpointError, match=name):
            verify_files(copy, digests)


def test_every_difference_of_the_files_is_in_one_error(weights):
    digests = file_digests(weights)
    names = list(digests)
    (weights / names[0]).unlink()
    (weights / names[1]).write_bytes(b"x")
    (weights / "extra").write_bytes(b"")
    (weights / "link").symlink_to("/etc")
    with pytest.raises(DamagedCheckpointError) as caught:
        verify_files(weights, {**digests, "../outside": {"bytes": 1, "sha256": "0" * 64}})
    for part in (
        f"{names[0]} is missing",
        f"{names[1]} has 1 bytes",
        "extra is extra",
        "link is a symbolic link",
        "../outside is missing",
    ):
        assert part in str(caught.value)


@pytest.mark.fault("A18")
def test_digests_of_a_folder_with_a_pipe_are_refused(weights):
    os.mkfifo(weights / "pipe")
    with pytest.raises(DamagedCheckpointError, match="pipe is no regular file"):
        file_digests(weights)


def test_what_is_no_folder_of_weights_is_one_sentence(tmp_path):
    with pytest.raises(NoCheckpointError, match="not a folder of weights"):
        load_weights(tmp_path / "missing", abstract(PARAMS))
    (tmp_path / "pickle.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(DamagedCheckpointError, match="no readable checkpoint"):
        load_weights(tmp_path, abstract(PARAMS))


@pytest.mark.filterwarnings("ignore")  # Orbax leaves its own failed tasks unawaited.
def test_unverified_damage_that_stops_the_reading_is_one_sentence(weights):
    data = max(files_below(weights), key=lambda path: path.stat().st_size)
    data.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"weights .*(cannot be read|no readable)"):
        load_weights(weights, abstract(PARAMS))


@pytest.mark.fault("B11")
def test_pieces_larger_than_the_array_are_refused_unread(tmp_path, monkeypatch):
    import tensorstore

    path = tmp_path / "bomb"
    context = ocp.Context()
    context.array.saving.use_ocdbt = False
    with context:
        ocp.save(path, {"w": jnp.ones((2, 2))}, checkpointable_name="weights")
    shutil.move(path / "weights", tmp_path / "item")
    shutil.rmtree(tmp_path / "item" / "w")
    tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": f"file://{tmp_path}/item/w/",
            "metadata": {
                "shape": [2, 2],
                "data_type": "float32",
                "chunk_grid": {
                    "name": "regular",
                    "configuration": {"chunk_shape": [1 << 14, 1 << 14]},
                },
            },
            "create": True,
        }
    ).result()
    monkeypatch.setattr("zoo.checkpoint.arrays.load", None)
    with pytest.raises(DamagedCheckpointError, match=r"not safe to read: w .* \(268435456"):
        load_weights(tmp_path / "item", abstract({"w": jnp.ones((2, 2))}))
