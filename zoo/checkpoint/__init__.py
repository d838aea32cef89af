"""Checkpoints: what a run saves and resumes from, and the weights it publishes.

`RunCheckpoints` is the one writer of a run; `list_steps`, `read_checkpoint` and `read_record`
only read. Every step carries a record with the digest of its files, and a step that does not
match its record is never restored.
"""

from zoo.checkpoint.errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointSaveError,
    DamagedCheckpointError,
    NoCheckpointError,
    NonFiniteError,
    RunInUseError,
    UnsupportedStateError,
)
from zoo.checkpoint.integrity import file_digests, verify_files
from zoo.checkpoint.reading import Restored, list_steps, read_checkpoint, read_record
from zoo.checkpoint.run import RunCheckpoints
from zoo.checkpoint.single_file import (
    load_single_file,
    read_about,
    save_single_file,
    verify_single_file,
    write_safetensors,
)
from zoo.checkpoint.tree import ArraySpec
from zoo.checkpoint.weights import load_weights, save_weights

__all__ = [
    "ArraySpec",
    "CheckpointError",
    "CheckpointMismatchError",
    "CheckpointSaveError",
    "DamagedCheckpointError",
    "NoCheckpointError",
    "NonFiniteError",
    "Restored",
    "RunCheckpoints",
    "RunInUseError",
    "UnsupportedStateError",
    "file_digests",
    "list_steps",
    "load_single_file",
    "load_weights",
    "read_about",
    "read_checkpoint",
    "read_record",
    "save_single_file",
    "save_weights",
    "verify_files",
    "verify_single_file",
    "write_safetensors",
]
