"""Published weights: one folder of four files, without paths, times or training state."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from zoo.checkpoint import arrays, tree
from zoo.checkpoint.errors import CheckpointError, NoCheckpointError
from zoo.common import files

_ITEM = "weights"
_SAVE_TIMEOUT_S = 1200.0


def save_weights(directory: str | Path, params: Mapping[str, jax.Array]) -> None:
    """Writes `params` as published weights: what restoring needs, and nothing else.

    The folder appears whole or not at all. Arrays spread over devices are gathered first, so the
    files do not depend on the device count.

    Args:
      directory: must not exist, or be empty.
      params: flat names to arrays, all finite.

    Raises:
      CheckpointError: `directory` is taken, or a parameter is not finite.
      UnsupportedStateError: a value is no array, or a name cannot be stored.
    """
    directory = Path(os.path.abspath(Path(directory).expanduser()))
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise CheckpointError(f"{directory} is not empty; remove it or choose another directory")
    named, _ = tree.flatten_named(dict(params))
    if bad := tree.non_finite(named):
        raise CheckpointError(f"weights hold NaN or infinity: {', '.join(bad)}; not written")
    device = jax.local_devices()[0]
    gathered = {name: jax.device_put(np.asarray(value), device) for name, value in named.items()}
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as work:
        whole = Path(work) / "whole"
        arrays.start_saving(whole, gathered, item=_ITEM, timeout_s=_SAVE_TIMEOUT_S)()
        item = whole / _ITEM
        # The per-process manifest only serves the merge into the one beside it.
        for manifest in item.glob("ocdbt.process_*/manifest.ocdbt"):
            manifest.unlink()
        files.sync_tree(item)
        if directory.exists():
            directory.rmdir()
        shutil.move(item, directory)


def load_weights(
    directory: str | Path,
    abstract: Mapping[str, jax.ShapeDtypeStruct],
    *,
    cast: bool = False,
) -> dict[str, jax.Array]:
    """Reads published weights into the shapes, dtypes and shardings of `abstract`.

    Nothing is read before all names, shapes and dtypes agree. The bytes themselves are vouched
    for by `verify_files`, called first with the digests of the manifest.

    Args:
      directory: folder written by `save_weights`.
      abstract: flat names to `jax.ShapeDtypeStruct`; without a sharding: the first device.
      cast: whether floats may change to the dtype of `abstract`.

    Raises:
      NoCheckpointError: no such folder.
      DamagedCheckpointError: not readable, or not safe to read.
      CheckpointMismatchError: lists every missing, extra, mis-shaped or mis-typed parameter.
    """
    directory = Path(os.path.abspath(Path(directory).expanduser()))
    if not directory.is_dir():
        raise NoCheckpointError(f"{directory} is not a folder of weights; check the path")
    wanted, _ = tree.flatten_named(dict(abstract), abstract=True)
    stored = arrays.stored_arrays(directory, item=None)
    specs = {name: array.spec for name, array in stored.items()}
    tree.require_match(specs, tree.array_specs(wanted), where=str(directory), cast=cast)
    arrays.require_sane_chunks(stored, directory)
    targets = tree.storage_targets(wanted, specs)
    return tree.from_storage(arrays.load(directory, targets, item=None), wanted)
