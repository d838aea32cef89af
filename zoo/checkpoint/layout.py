"""The steps of a run on disk: where they are, what their records say, which of them are whole.

Layout: `<run>/checkpoints/<step>/` with the folder of arrays and `record.json`, written last.
A directory without a valid record is not a step.
"""

import dataclasses
import errno
import hashlib
import json
import math
import re
import stat
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypedDict

from msgspec import Meta, Struct

from zoo.checkpoint import integrity
from zoo.checkpoint.errors import CheckpointError, DamagedCheckpointError
from zoo.checkpoint.tree import ArraySpec, is_dtype
from zoo.common import files
from zoo.common.files import read_bounded
from zoo.common.json_text import Count, JsonError, Sha256, as_form
from zoo.common.json_values import canonical

CHECKPOINTS = "checkpoints"
ITEM = "state"
RECORD_NAME = "record.json"
FORMAT = 1
_RECORD_MAX_BYTES = 64 << 20
_STEP_NAME = re.compile(r"0|[1-9][0-9]{0,17}")
_FLOAT = r"\A(nan|-?inf|-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?)\Z"  # what `repr` of a float gives


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """What is written beside the arrays of a step, after they are complete.

    Attributes:
      step: number of updates behind the state.
      parameters: the arrays by name.
      metrics: measured at this step; may hold NaN.
      best: metric and mode ("max" or "min") that rank the steps of this run.
      record: the caller's own JSON object: configuration, data fingerprint.
      files: size and sha256 of every file of the step.
    """

    step: int
    parameters: dict[str, ArraySpec]
    metrics: dict[str, float]
    best: tuple[str, str]
    record: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @property
    def score(self) -> float | None:
        """Rank of this step, larger is better; None when not measured or not finite."""
        metric, mode = self.best
        value = self.metrics.get(metric, math.nan)
        if not math.isfinite(value):
            return None
        return value if mode == "max" else -value


_ArrayName = Annotated[str, Meta(max_length=1000)]


class _Outer(Struct):
    body: dict[str, Any]
    sha256: Sha256


class _FileDigest(TypedDict):
    bytes: Count
    sha256: Sha256


class _Body(Struct):
    """What is signed; the caller's own record may hold whatever JSON can."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    step: Annotated[int, Meta(ge=0, lt=10**18)]
    parameters: dict[_ArrayName, tuple[tuple[Count, ...], str]]
    metrics: dict[str, Annotated[str, Meta(pattern=_FLOAT)]]
    best: tuple[str, Literal["max", "min"]]
    record: dict[str, Any]
    files: dict[str, _FileDigest]

    def __post_init__(self) -> None:
        names = set(self.parameters)
        for name, (_, dtype) in self.parameters.items():
            if not is_dtype(dtype):
                raise ValueError(f"{name!r} has the unknown dtype {dtype!r}")
            if any(str(above) in names for above in PurePosixPath(name).parents):
                raise ValueError(f"{name!r} lies below another array")


def step_directories(checkpoints: Path) -> dict[int, Path]:
    """Everything in `checkpoints` named like a step, whatever it is, ascending."""
    try:
        names = [p for p in checkpoints.iterdir() if _STEP_NAME.fullmatch(p.name)]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(path.name): path for path in sorted(names, key=lambda path: int(path.name))}


def seal(directory: Path, record: StepRecord) -> None:
    """Makes the finished arrays in `directory` a step: hashes, syncs, then writes the record."""
    files.sync_tree(directory)
    record = dataclasses.replace(record, files=integrity.file_digests(directory))
    files.write(directory / RECORD_NAME, _encode(record), durable=True)


def read_step_record(directory: Path, *, hash_files: bool = False) -> StepRecord:
    """The record of the step in `directory`, whose files are checked against it.

    Args:
      directory: a step directory.
      hash_files: hash every file; otherwise only names, kinds and sizes are compared.

    Raises:
      DamagedCheckpointError: no valid record, or the files are not those it lists.
    """
    record = _decode(_read_small(directory / RECORD_NAME), directory)
    if _STEP_NAME.fullmatch(directory.name) and int(directory.name) != record.step:
        raise DamagedCheckpointError(f"{directory} holds step {record.step}, not its own")
    problems = integrity.file_problems(
        directory, record.files, besides=(RECORD_NAME,), read=hash_files
    )
    if problems:
        raise DamagedCheckpointError(
            f"step {record.step} in {directory} is damaged: {'; '.join(problems)}; "
            "restore another step"
        )
    return record


def complete_steps(checkpoints: Path) -> dict[int, StepRecord]:
    """Records of the steps whose files are there in full size, ascending; nothing is hashed."""
    records = {}
    for step, directory in step_directories(checkpoints).items():
        try:
            records[step] = read_step_record(directory)
        except DamagedCheckpointError:
            continue
    return records


def newest_intact(
    checkpoints: Path,
) -> tuple[StepRecord | None, dict[Path, DamagedCheckpointError]]:
    """The newest step whose every byte verifies, and what is wrong with each one after it."""
    skipped = {}
    for directory in reversed(step_directories(checkpoints).values()):
        try:
            return read_step_record(directory, hash_files=True), skipped
        except DamagedCheckpointError as error:
            skipped[directory] = error
    return None, skipped


def best_step(records: Mapping[int, StepRecord]) -> int | None:
    """The step with the best finite metric, the earliest of equals."""
    ranked = best_steps(records, 1)
    return ranked[0] if ranked else None


def best_steps(records: Mapping[int, StepRecord], count: int) -> list[int]:
    """Up to `count` steps with the best finite metrics, best first."""
    scores = {step: r.score for step, r in records.items() if r.score is not None}
    return sorted(scores, key=lambda step: (-scores[step], step))[:count]


def json_object(record: Mapping[str, Any]) -> dict[str, Any]:
    """`record` as JSON gives it back.

    Raises:
      CheckpointError: it holds something JSON has no form for, such as NaN.
    """
    try:
        return json.loads(json.dumps(dict(record), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the record of a step must be a JSON object: {error}") from error


def _encode(record: StepRecord) -> bytes:
    body: dict[str, Any] = dataclasses.asdict(record)
    body["format"] = FORMAT
    body["parameters"] = {n: [list(s.shape), s.dtype] for n, s in record.parameters.items()}
    # JSON has no NaN: metrics are kept as the text that float() reads back exactly.
    body["metrics"] = {name: repr(float(value)) for name, value in record.metrics.items()}
    digest = hashlib.sha256(canonical(body)).hexdigest()
    return canonical({"body": body, "sha256": digest})


def _decode(content: bytes, directory: Path) -> StepRecord:
    where = directory / RECORD_NAME
    try:
        outer = json.loads(content)
        body = as_form(outer, _Outer).body
        version = body.get("format")
        if type(version) is int and version > FORMAT:
            raise DamagedCheckpointError(
                f"{where} was written in format {version}, this program reads up to {FORMAT}; "
                "upgrade it"
            )
        digest = hashlib.sha256(canonical(body)).hexdigest()
        if outer["sha256"] != digest or canonical(outer) != content:
            raise DamagedCheckpointError(f"{where} is altered; restore another step")
        known = as_form(body, _Body)
        return StepRecord(
            step=known.step,
            parameters={name: ArraySpec(*spec) for name, spec in known.parameters.items()},
            metrics={name: float(text) for name, text in known.metrics.items()},
            best=known.best,
            record=body["record"],
            files={name: dict(digest) for name, digest in known.files.items()},
        )
    except DamagedCheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, JsonError) else "not JSON as this program writes it"
        raise DamagedCheckpointError(
            f"{where} is no valid record ({reason}); restore another step"
        ) from error


def _read_small(path: Path) -> bytes:
    """The record's bytes; never follows a link, never reads an endless file."""
    try:
        if stat.S_ISLNK(path.parent.lstat().st_mode):
            raise OSError(errno.ELOOP, "its folder is a link", str(path.parent))
        return read_bounded(path, _RECORD_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise DamagedCheckpointError(
            f"{path.parent} has no {path.name}: it is not finished, or no step"
        ) from None
    except OSError as error:
        raise DamagedCheckpointError(f"{path} cannot be read: {error.strerror}") from error
