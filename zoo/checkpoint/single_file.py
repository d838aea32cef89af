"""Weights as one safetensors file that vouches for itself.

Its metadata holds one JSON object about the weights under "weight"; the last key of that, "sha256",
is the digest of all others and of every array. It holds arrays and text; reading runs nothing.
"""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from zoo.checkpoint import tree
from zoo.checkpoint.errors import CheckpointError, DamagedCheckpointError, NoCheckpointError

# One key: the order of several is not the same in every file.
_KEY = "weight"
_SIGNED = re.compile(r'(\{.*), "sha256": "([0-9a-f]{64})"\}', re.DOTALL)
_MAX_HEADER_BYTES = 16 * 2**20
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


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
    with _opened(path) as file:
        return _signed(file, path)[0]


def verify_single_file(path: Path) -> None:
    """Reads every array once.

    Raises:
      NoCheckpointError: there is no such file.
      DamagedCheckpointError: it is damaged, or of another program.
    """
    with _opened(path) as file:
        _whole(file, path)


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
    with _opened(path) as file:
        stored = {name: _spec(name, file.get_slice(name), path) for name in file.keys()}
        tree.require_match(stored, tree.array_specs(wanted), where=str(path), cast=True)
        arrays = _whole(file, path)
    targets = tree.storage_targets(wanted, stored)
    read = {name: jax.device_put(arrays[name], targets[name].sharding) for name in wanted}
    return tree.from_storage(read, wanted)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    _require_header(path)
    try:
        with safe_open(path, "np") as file:
            yield file
    except SafetensorError as error:
        raise DamagedCheckpointError(
            f"{path} is no whole safetensors file ({error}); fetch or export it again"
        ) from None


def _require_header(path: Path) -> None:
    """Refuses what is no regular file, or announces a header larger than any of ours."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NoCheckpointError(f"there is no {path}; check the path") from None
    try:
        status = os.fstat(descriptor)
        start = os.read(descriptor, 8) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(descriptor)
    header_bytes = int.from_bytes(start, "little")
    if len(start) < 8 or header_bytes > min(status.st_size, _MAX_HEADER_BYTES):
        raise DamagedCheckpointError(
            f"{path} is no safetensors file (it begins with {start!r}); give one that "
            "zoo export wrote"
        )


def _signed(file: Any, path: Path) -> tuple[str, str]:
    signed = _SIGNED.fullmatch((file.metadata() or {}).get(_KEY, ""))
    if signed is None:
        raise DamagedCheckpointError(
            f"{path} does not say which model it holds; give a file that zoo export wrote"
        )
    return signed[1] + "}", signed[2]


def _whole(file: Any, path: Path) -> dict[str, np.ndarray]:
    about, digest = _signed(file, path)
    arrays = {name: file.get_tensor(name) for name in file.keys()}
    if _digest(about, arrays) != digest:
        raise DamagedCheckpointError(f"{path} is altered (sha256); fetch or export it again")
    return arrays


def _spec(name: str, view: Any, path: Path) -> tree.ArraySpec:
    kind = view.get_dtype()
    if kind not in _DTYPES:
        raise DamagedCheckpointError(
            f"{path} holds {name} as {kind}; weights are {', '.join(_DTYPES)}"
        )
    return tree.ArraySpec(tuple(view.get_shape()), _DTYPES[kind])


def _digest(about: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(about.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _for_numpy(value: Any) -> np.ndarray:
    array = np.asarray(value)
    return array if array.dtype.isbuiltin == 1 else array.astype(np.float32)
