"""Flat named arrays on disk: the only module that imports Orbax.

A directory holds one *item*, the folder with the arrays. Published weights are the item
folder alone (`item=None` when reading); a training step is a directory around it.
"""

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from zoo.checkpoint.errors import CheckpointError, DamagedCheckpointError
from zoo.checkpoint.tree import ArraySpec

# Orbax writes into this sibling of the directory and renames it when everything is there.
TEMPORARY_SUFFIX = ".orbax-checkpoint-tmp"
# Its annotations of pytrees fit no tree that a type checker can name.
_orbax: Any = ocp


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """An array on disk: what it is and the shapes of the pieces it is cut into."""

    spec: ArraySpec
    chunk_shapes: tuple[tuple[int, ...], ...]


def start_saving(
    directory: Path, arrays: Mapping[str, Any], *, item: str, timeout_s: float
) -> Callable[[], None]:
    """Starts writing `arrays` into `directory`/`item`; they may be donated once this returns.

    Returns:
      A function that blocks until all is written and renamed into place, and raises what failed.
    """
    with _context(timeout_s):
        pending = _orbax.save_async(str(directory), dict(arrays), checkpointable_name=item)
    return lambda: pending.result(timeout=timeout_s)


def load(
    directory: Path,
    targets: Mapping[str, jax.ShapeDtypeStruct],
    *,
    item: str | None,
    where: str | None = None,
) -> dict[str, jax.Array]:
    """Reads `targets`, which may be a part of what is there, each with the sharding it carries.

    Raises:
      CheckpointError: they cannot be read; names `where`, by default the directory.
    """
    context = _context()
    context.pytree.loading.partial_load = True
    try:
        with context:
            return _orbax.load(str(directory), dict(targets), checkpointable_name=item)
    # Orbax raises bare exceptions here, for damage as for a lack of memory.
    except Exception as error:
        raise CheckpointError(
            f"{where or directory} cannot be read ({_reason(error)}); verify its files"
        ) from error


def stored_arrays(directory: Path, *, item: str | None) -> dict[str, StoredArray]:
    """What `directory` says it holds; reads no array.

    Raises:
      DamagedCheckpointError: Orbax cannot make sense of the directory.
    """
    try:
        with _context():
            tree = _orbax.metadata(str(directory), checkpointable_name=item).metadata
        return {name: _stored(leaf) for name, leaf in tree.items()}
    # Orbax raises anything from AttributeError to JSONDecodeError on a damaged directory.
    except Exception as error:
        raise DamagedCheckpointError(
            f"{directory} is no readable checkpoint ({_reason(error)}); fetch it again"
        ) from error


def require_sane_chunks(stored: Mapping[str, StoredArray], directory: Path) -> None:
    """Refuses arrays cut into pieces larger than themselves.

    A few bytes can decompress into a piece of any declared size, and a piece is decoded whole,
    however small the array is that shows through it.

    Raises:
      DamagedCheckpointError: names the arrays.
    """
    bad = [
        f"{name} {array.spec} in pieces of {chunk} ({math.prod(chunk)} elements)"
        for name, array in stored.items()
        for chunk in array.chunk_shapes
        if len(chunk) != len(array.spec.shape)
        or any(c > max(size, 1) for c, size in zip(chunk, array.spec.shape, strict=True))
    ]
    if bad:
        raise DamagedCheckpointError(
            f"{directory} is not safe to read: {'; '.join(bad)}; do not use this file"
        )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _stored(leaf: Any) -> StoredArray:
    storage = leaf.storage_metadata
    grid = getattr(getattr(storage, "zarr_metadata", None), "chunk_shape", None)
    chunks = {tuple(shape) for shape in (storage.chunk_shape, grid) if shape is not None}
    spec = ArraySpec(tuple(leaf.shape), str(jnp.dtype(leaf.dtype)))
    return StoredArray(spec, tuple(sorted(chunks)))


def _context(timeout_s: float = 1200.0) -> ocp.Context:
    """Options that write the fewest files: no sharding file, no per-host array metadata."""
    _silence_orbax()
    context = ocp.Context()
    context.array.saving.array_metadata_store = None
    context.array.saving.enable_write_sharding_file = False
    context.asynchronous.create_directories_asynchronously = False
    context.asynchronous.timeout_secs = math.ceil(timeout_s)
    return context


class _OrbaxRecords(logging.Filter):
    """Drops what Orbax logs: its failures reach the user as our errors, in one sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname and "orbax" not in record.getMessage()


@functools.cache
def _silence_orbax() -> None:
    for name in ("absl", "asyncio", None):
        logging.getLogger(name).addFilter(_OrbaxRecords())
