"""Reading a run from outside: never writes, waits for no lock, survives a trainer at work."""

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax

from zoo.checkpoint import arrays, integrity, layout, tree
from zoo.checkpoint.errors import CheckpointError, DamagedCheckpointError, NoCheckpointError
from zoo.common.files import expanded
from zoo.common.words import near_names

# A trainer may delete the step being read; it would have to do so this often in a row.
_ATTEMPTS = 10
_log = logging.getLogger("zoo.checkpoint")


@dataclasses.dataclass(frozen=True)
class Restored:
    """A step that was read.

    Attributes:
      state: the tree that was asked for; None when only the record was read.
      step: number of updates behind it.
      record: the JSON object that was saved with it.
      metrics: measured at this step; may hold NaN.
      parameters: shape and dtype of every stored array by name.
    """

    state: Any
    step: int
    record: dict[str, Any]
    metrics: dict[str, float]
    parameters: dict[str, tree.ArraySpec]


def list_steps(run_dir: str | Path) -> list[int]:
    """Complete steps of a run, ascending; names and sizes are checked, nothing is hashed."""
    checkpoints, _ = locate(run_dir)
    return list(layout.complete_steps(checkpoints))


def read_checkpoint(
    run_dir: str | Path,
    abstract_state: Any,
    step: int | Literal["best"] | None = None,
    *,
    cast: bool = False,
    partial: bool = False,
) -> Restored:
    """Reads a step of a run, whether or not it is being trained; every byte is verified first.

    Args:
      run_dir: a run, its `checkpoints` directory, or one step directory.
      abstract_state: pytree of `jax.ShapeDtypeStruct`, with shardings for several devices.
      step: a number, "best", or None for the newest that verifies.
      cast: whether floats may change to the dtype of `abstract_state`.
      partial: whether arrays that `abstract_state` does not mention are left unread; with it
        `{"params": ...}` reads the parameters of a training state alone.

    Raises:
      NoCheckpointError: nothing there; names the nearest directory.
      DamagedCheckpointError: the files are not those that were written.
      CheckpointMismatchError: the arrays are not the wanted ones; lists every difference.
    """
    checkpoints, directory = locate(run_dir)
    if directory is not None and step is None:
        return load_step(directory, abstract_state, cast=cast, partial=partial)
    return restore_from(checkpoints, abstract_state, step, _log.warning, cast=cast, partial=partial)


def read_record(run_dir: str | Path, step: int | Literal["best"] | None = None) -> Restored:
    """As `read_checkpoint`, without the arrays: `state` is None and no file is hashed."""
    checkpoints, directory = locate(run_dir)
    if directory is None or step is not None:
        records = layout.complete_steps(checkpoints)
        if step is None and records:
            step = max(records)
        directory = _directory_of(checkpoints, step)
    return _restored(None, layout.read_step_record(directory))


def restore_from(
    checkpoints: Path,
    abstract_state: Any,
    step: int | Literal["best"] | None,
    report: Callable[[str], None],
    *,
    cast: bool = False,
    partial: bool = False,
) -> Restored:
    """Reads `step`, or the newest one that verifies, from a directory of steps."""
    if step is not None:
        directory = _directory_of(checkpoints, step)
        return load_step(directory, abstract_state, cast=cast, partial=partial)
    for _ in range(_ATTEMPTS):
        newest = newest_or_none(checkpoints, report)
        if newest is None:
            raise NoCheckpointError(f"{checkpoints} holds no complete step; train first")
        directory = checkpoints / str(newest.step)
        try:
            return load_step(directory, abstract_state, newest, cast=cast, partial=partial)
        except CheckpointError:
            if os.path.lexists(directory):
                raise
            report(f"step {newest.step} was deleted while being read; trying the next one")
    raise CheckpointError(f"every step of {checkpoints} was deleted while being read; try again")


def newest_or_none(checkpoints: Path, report: Callable[[str], None]) -> layout.StepRecord | None:
    """The newest step that verifies; what is skipped on the way is reported.

    Raises:
      DamagedCheckpointError: finished steps exist, and none verifies.
    """
    for _ in range(_ATTEMPTS):
        newest, skipped = layout.newest_intact(checkpoints)
        present = {path: error for path, error in skipped.items() if os.path.lexists(path)}
        if newest is None and len(present) < len(skipped):
            continue
        damaged = [e for path, e in present.items() if os.path.lexists(path / layout.RECORD_NAME)]
        if newest is None and damaged:
            raise DamagedCheckpointError(
                f"no step of {checkpoints} is intact: {' | '.join(map(str, damaged))}"
            )
        for error in present.values():
            report(f"skipped: {error}")
        return newest
    return None


def load_step(
    directory: Path,
    abstract_state: Any,
    record: layout.StepRecord | None = None,
    *,
    cast: bool,
    partial: bool,
) -> Restored:
    """Reads the step in `directory`; hashes its files unless its verified `record` is given."""
    if record is None:
        record = layout.read_step_record(directory, hash_files=True)
    wanted, treedef = tree.flatten_named(abstract_state, abstract=True)
    where = f"step {record.step} of {directory.parent.parent}"
    specs = tree.array_specs(wanted)
    tree.require_match(record.parameters, specs, where=where, cast=cast, partial=partial)
    targets = tree.storage_targets(wanted, record.parameters)
    try:
        with integrity.pinned(directory, record.files) as view:
            read = arrays.load(view, targets, item=layout.ITEM, where=where)
    except OSError as error:
        raise CheckpointError(f"{where} cannot be read: {error.strerror}") from error
    values = tree.from_storage(read, wanted)
    return _restored(jax.tree_util.tree_unflatten(treedef, [values[n] for n in wanted]), record)


def locate(path: str | Path) -> tuple[Path, Path | None]:
    """The directory of steps that `path` means, and the step directory when it names one.

    Accepts a run, its `checkpoints`, a step directory or the folder of arrays in it, relative or
    with `~`.

    Raises:
      NoCheckpointError: it is none of these; names what was probably meant.
    """
    path = Path(os.path.abspath(expanded(path)))
    if path.is_file():
        raise NoCheckpointError(f"{path} is {_kind_of(path)}, not the directory of a run")
    if not path.is_dir():
        raise NoCheckpointError(f"{path} does not exist{_did_you_mean(path)}")
    if (path / layout.CHECKPOINTS).is_dir():
        return path / layout.CHECKPOINTS, None
    if path.name == layout.CHECKPOINTS:
        return path, None
    for directory in (path, path.parent):
        if os.path.lexists(directory / layout.RECORD_NAME):
            return directory.parent, directory
    if path.parent.name == layout.CHECKPOINTS:
        return path.parent, path
    raise NoCheckpointError(f"{path} holds no checkpoints{_did_you_mean(path)}")


def _directory_of(checkpoints: Path, step: int | Literal["best"] | None) -> Path:
    records = None
    if step == "best":
        records = layout.complete_steps(checkpoints)
        step = layout.best_step(records)
    directory = checkpoints / str(step)
    if step is None or not os.path.lexists(directory):
        known = list(records if records is not None else layout.complete_steps(checkpoints))
        what = "no complete step" if step is None else f"no step {step}"
        raise NoCheckpointError(f"{checkpoints} holds {what}; complete steps: {known}")
    return directory


def _restored(state: Any, record: layout.StepRecord) -> Restored:
    return Restored(state, record.step, record.record, record.metrics, record.parameters)


def _did_you_mean(path: Path) -> str:
    below = [p for p in _folders(path) if (p / layout.CHECKPOINTS).is_dir()]
    near = near_names(path.name, [p.name for p in _folders(path.parent)], 1)
    if below:
        return f"; did you mean {' or '.join(map(str, sorted(below)[:3]))}?"
    return f"; did you mean {path.parent / near[0]}?" if near and near[0] != path.name else ""


def _folders(path: Path) -> list[Path]:
    try:
        return [p for p in path.iterdir() if p.is_dir()]
    except (OSError, ValueError):  # the latter for a NUL in the name
        return []


def _kind_of(path: Path) -> str:
    """Guess, for the message only, what file was given; its content is never unpickled."""
    with open(path, "rb") as file:
        start = file.read(16)
    marks = {
        b"PK": "a zip, npz or torch file",
        b"\x80": "a pickle",
        b"\x93NUMPY": "a npy file",
        b"\x89HDF": "an HDF5 file",
        b"\x1f\x8b": "a gzip file",
    }
    kinds = [kind for mark, kind in marks.items() if start.startswith(mark)]
    if path.suffix == ".safetensors":
        kinds = ["a safetensors file"]
    return kinds[0] if kinds else "a file"
