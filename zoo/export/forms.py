"""The forms a weight is exported in.

All hold plain arrays and JSON; nothing is pickled, and PyTorch is not needed to write them.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file

from zoo.export.runner import runner_text
from zoo.models import Layer, Network, chain_of, overrides_of, split
from zoo.pretrained import load_pretrained

SINGLE_FILE_VERSION = 1
TORCH_WEIGHTS, TORCH_RUNNER = "model.safetensors", "run.py"


class ExportError(ValueError):
    """A weight cannot be written in the form asked for."""


def export(
    source: str | Path | Network,
    out: str | Path | None = None,
    *,
    format: Literal["safetensors", "torch"] = "safetensors",
) -> Path:
    """Writes a weight for users without JAX; the file or folder appears whole or not at all.

      safetensors: one file; arrays under their names here (bfloat16 as float32), everything else
                   as JSON in its metadata under "weight". `safetensors.numpy.load_file` reads it.
      torch:       a folder with the state dict of an `nn.Sequential` as `model.safetensors`, and
                   `run.py`, which builds and runs it.

    Args:
      source: whatever `load_pretrained` takes, or a model.
      out: where to write, must not exist; None names it after the weight, in this directory.
      format: "safetensors" or "torch".

    Raises:
      ExportError: `out` exists or cannot be written, or the network is no plain chain (torch).
      ValueError: as `load_pretrained`.
    """
    writers = {"safetensors": _write_single_file, "torch": _write_torch}
    if format not in writers:
        raise ExportError(f"format {format!r}; allowed: {', '.join(writers)}")
    model = source if isinstance(source, Network) else load_pretrained(source)
    name = model.manifest.id if model.manifest else model.arch
    default = f"{name}.safetensors" if format == "safetensors" else f"{name}.torch"
    path = Path(out or default).expanduser().absolute()
    try:
        with _appearing(path) as temporary:
            writers[format](model, temporary)
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written ({error.strerror or error}); give --out"
        ) from error
    return path


def _write_single_file(model: Network, path: Path) -> None:
    arrays = {name: _for_numpy(value) for name, value in split(model)[1].items()}
    about = {"format_version": SINGLE_FILE_VERSION, **_describe(model)}
    save_file(arrays, path, metadata={"weight": json.dumps(about, sort_keys=True)})


def _for_numpy(value: Any) -> np.ndarray:
    """bfloat16, which NumPy alone does not know, as float32: every value stays what it is."""
    array = np.asarray(value)
    return array if array.dtype.isbuiltin == 1 else array.astype(np.float32)


def _write_torch(model: Network, folder: Path) -> None:
    layers = chain_of(model)
    arrays = {name: np.asarray(value, np.float32) for name, value in split(model)[1].items()}
    state: dict[str, np.ndarray] = {}
    for index, layer in enumerate(layers):
        if layer.params:
            kernel = arrays[f"{layer.params}.kernel"]
            axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            state[f"{index}.weight"] = np.ascontiguousarray(kernel.transpose(axes))
            state[f"{index}.bias"] = arrays[f"{layer.params}.bias"]
    folder.mkdir()
    about = _describe(model)
    calls = [_call(layer) for layer in layers]
    text = json.dumps({**about, "layers": calls}, sort_keys=True)
    save_file(state, folder / TORCH_WEIGHTS, metadata={"format": "pt", "weight": text})
    text = runner_text(about["id"], model.activation, TORCH_WEIGHTS)
    (folder / TORCH_RUNNER).write_text(text, encoding="utf-8")


def _call(layer: Layer) -> list[Any]:
    """A layer as PyTorch builds it: the class and its positional arguments."""
    margin = layer.kernel_size // 2
    return {
        "per_location": ["PerLocation"],
        "activation": ["Activation"],
        "conv": ["Conv2d", layer.inputs, layer.outputs, layer.kernel_size, layer.stride, margin],
        "max_pool": ["MaxPool2d", layer.kernel_size, layer.stride, margin],
        "mean": ["AdaptiveAvgPool2d", 1],
        "flatten": ["Flatten"],
        "dense": ["Linear", layer.inputs, layer.outputs],
    }[layer.kind]


def _describe(model: Network) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "id": manifest.id if manifest else model.arch,
        "arch": model.arch,
        "overrides": overrides_of(model),
        "activation": dataclasses.asdict(model.activation),
        "preprocess": dataclasses.asdict(model.preprocess) if model.preprocess else None,
        "classes": list(model.classes),
        "licence": manifest.licence if manifest else None,
        "data_terms": manifest.data_terms if manifest else None,
        "metrics": manifest.metrics if manifest else {},
    }


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end and removed on failure."""
    if path.exists() or path.is_symlink():
        raise ExportError(f"{path} exists; remove it or give another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        yield temporary
        os.rename(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
