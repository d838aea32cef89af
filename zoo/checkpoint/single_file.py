"""Weights as one safetensors file that vouches for itself.

Its metadata holds one JSON object about the weights under "weight"; the last key of that, "sha256",
is the digest of all others and of every array with its name. The header has one form only, so no
byte of the file can be another. It holds arrays and text; reading runs nothing.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from zoo.checkpoint import tree
from zoo.checkpoint.errors import CheckpointError, DamagedCheckpointError, NoCheckpointError
from zoo.common.files import open_regular

# One key: the order of several is not the same in every file.
_KEY = "weight"
_SIGNED = re.compile(r'(\{.*), "sha256": "([0-9a-f]{64})"\}', re.DOTALL)
_MAX_HEADER_BYTES = 16 * 2**20
# In the order in which safetensors writes them: arrays of one dtype stand together, by name.
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_BYTES = {"F32": 4, "BF16": 2, "F16": 2}


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A file whose header is the one that its arrays and its text have."""

    path: Path
    file: Any
    about: str
    digest: str
    specs: dict[str, tree.ArraySpec]

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: self.file.get_tensor(name) for name in self.specs}
        if _digest(self.about, arrays) != self.digest:
            raise DamagedCheckpointError(
                f"{self.path} is altered (sha256); fetch or export it again"
            )
        return arrays


def save_single_file(path: Path, params: Mapping[str, jax.Array], about: str) -> None:
    """Writes `params`, bfloat16 as float32, which NumPy alone can read; every value stays.

    Args:
      path: of the file.
      params: flat names to arrays, all finite.
      about: JSON object about them, not empty.

    Raises:
      CheckpointError: a parameter is not finite.
      OSError: the file cannot be written.
    """
    if bad := tree.non_finite(params):
        raise CheckpointError(f"weights hold NaN or infinity: {', '.join(bad)}; not written")
    arrays = {name: _for_numpy(value) for name, value in params.items()}
    signed = f'{about[:-1]}, "sha256": "{_digest(about, arrays)}"}}'
    write_safetensors(path, arrays, {_KEY: signed})


def write_safetensors(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str]
) -> None:
    """`safetensors.numpy.save_file`, which tells what the system said as text, with `OSError`s."""
    try:
        save_file(dict(arrays), path, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None
    os.chmod(path, 0o644)  # safetensors makes it readable to its owner only


def read_about(path: Path) -> str:
    """The JSON object about the weights in a file of `save_single_file`; no array is read.

    Raises:
      NoCheckpointError: there is no such file.
      DamagedCheckpointError: it is no safetensors file, or carries no such object.
    """
    with _opened(path) as opened:
        return opened.about


def verify_single_file(path: Path) -> None:
    """Reads every array once.

    Raises:
      NoCheckpointError: there is no such file.
      DamagedCheckpointError: it is damaged, or of another program.
    """
    with _opened(path) as opened:
        opened.arrays()


def load_single_file(
    path: Path, abstract: Mapping[str, jax.ShapeDtypeStruct]
) -> dict[str, jax.Array]:
    """Reads a file of `save_single_file` into the shapes, dtypes and shardings of `abstract`.

    Nothing is read before all names and shapes agree, nothing returned before the digest does.

    Raises:
      NoCheckpointError: there is no such file.
      DamagedCheckpointError: it is damaged, or of another program.
      CheckpointMismatchError: lists every missing, extra or mis-shaped parameter.
    """
    wanted, _ = tree.flatten_named(dict(abstract), abstract=True)
    with _opened(path) as opened:
        specs = opened.specs
        tree.require_match(specs, tree.array_specs(wanted), where=str(path), cast=True)
        arrays = opened.arrays()
    targets = tree.storage_targets(wanted, specs)
    read = {name: jax.device_put(arrays[name], targets[name].sharding) for name in wanted}
    return tree.from_storage(read, wanted)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Opened]:
    header = _header(path)
    try:
        with safe_open(path, "np") as file:
            about, digest, signed = _signed(file, path)
            views = {name: file.get_slice(name) for name in file.keys()}
            kinds = {name: (view.get_dtype(), view.get_shape()) for name, view in views.items()}
            specs = {name: _spec(name, *kind, path) for name, kind in kinds.items()}
            if header != _only_header(signed, kinds):
                raise DamagedCheckpointError(
                    f"the header of {path} is altered; fetch or export it again"
                )
            yield _Opened(path, file, about, digest, specs)
    except SafetensorError as error:
        raise DamagedCheckpointError(
            f"{path} is no whole safetensors file ({error}); fetch or export it again"
        ) from None


def _header(path: Path) -> bytes:
    """The header of a regular file, if it is not larger than any of ours."""
    try:
        with open_regular(path, follow=True) as file:
            start = file.read(8)
            header_bytes = int.from_bytes(start, "little")
            if len(start) == 8 and header_bytes <= _MAX_HEADER_BYTES:
                return file.read(header_bytes)
    except FileNotFoundError:
        raise NoCheckpointError(f"there is no {path}; check the path") from None
    except OSError as error:
        reason = error.strerror
    else:
        reason = f"it begins with {start!r}"
    raise DamagedCheckpointError(
        f"{path} is no safetensors file ({reason}); give one that zoo export wrote"
    )


def _only_header(signed: str, kinds: Mapping[str, tuple[str, list[int]]]) -> bytes:
    """The header that safetensors writes before these arrays.

    Any other that reads the same, with further metadata, other blanks or another order, has bytes
    that nobody vouches for.
    """
    order = list(_DTYPES)
    entries: dict[str, Any] = {"__metadata__": {_KEY: signed}}
    end = 0
    for name, (kind, shape) in sorted(kinds.items(), key=lambda e: (order.index(e[1][0]), e[0])):
        start, end = end, end + math.prod(shape) * _BYTES[kind]
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    return text.ljust(-(-len(text) // 8) * 8)


def _signed(file: Any, path: Path) -> tuple[str, str, str]:
    """The text about the weights, its digest, and both as they stand in the file."""
    signed = (file.metadata() or {}).get(_KEY, "")
    parts = _SIGNED.fullmatch(signed)
    if parts is None:
        raise DamagedCheckpointError(
            f"{path} does not say which model it holds; give a file that zoo export wrote"
        )
    return parts[1] + "}", parts[2], signed


def _spec(name: str, kind: str, shape: list[int], path: Path) -> tree.ArraySpec:
    if kind not in _DTYPES:
        raise DamagedCheckpointError(
            f"{path} holds {name} as {kind}; weights are {', '.join(_DTYPES)}"
        )
    return tree.ArraySpec(tuple(shape), _DTYPES[kind])


def _digest(about: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(about.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _for_numpy(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array if array.dtype.isbuiltin == 1 else array.astype(np.float32)
