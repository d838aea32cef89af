"""The forms a weight is exported in.

All hold plain arrays and JSON; nothing is pickled, and PyTorch is not needed to write them.
"""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from zoo.checkpoint import save_single_file, write_safetensors
from zoo.classifier import Classifier
from zoo.export.arrays import plain_arrays
from zoo.export.errors import ExportError, FullDiskError
from zoo.export.huggingface import write_huggingface
from zoo.export.onnx import write_onnx
from zoo.export.runner import runner_text
from zoo.export.stablehlo import write_stablehlo
from zoo.models import Layer, NotAChainError, layers_of
from zoo.pretrained.loading import as_classifier
from zoo.pretrained.manifest import SINGLE_FILE
from zoo.pretrained.writing import record_of
from zoo.transfer import FULL_DISK

Format = Literal["safetensors", "huggingface", "torch", "onnx", "stablehlo"]
# Forms written by one function, (classifier, path).
_WRITERS: dict[str, Callable[[Classifier, Path], None]] = {
    "onnx": write_onnx,
    "stablehlo": write_stablehlo,
}

_RUNNER = "run.py"


def export(
    source: str | Path | Classifier,
    out: str | Path | None = None,
    *,
    format: Format = "safetensors",
    name: str | None = None,
) -> Path:
    """Writes a weight in another form; the file or folder appears whole or not at all.

      safetensors: one file; arrays under their names here (bfloat16 as float32), the manifest as
                   JSON in its metadata under "weight", with the digest of both as "sha256".
                   `safetensors.numpy.load_file` reads it, and `load_pretrained`.
      huggingface: a folder with config.json, model.safetensors (as above), README.md and
                   manifest.json; `load_pretrained("dir:FOLDER")` reads it, and `push` uploads it.
      torch:       a folder with the state dict of an `nn.Sequential` as `model.safetensors`, and
                   `run.py`, which builds and runs it.
      onnx:        one file, `zoo.export.onnx`; ONNX Runtime and others run it.
      stablehlo:   a folder with a program of `jax.export` and `run.py`, `zoo.export.stablehlo`;
                   JAX alone runs it, whatever the family.

    The last three take uint8 images of the network's size; normalising is part of them.

    Args:
      source: whatever `load_pretrained` takes, or a classifier.
      out: where to write, must not exist; None names it after the weight, in this directory.
      format: "safetensors", "huggingface", "torch", "onnx" or "stablehlo".
      name: how the card of a huggingface folder calls it; None: hf:ORG/ and the folder's name.

    Raises:
      ExportError: `out` exists or cannot be written, the network is no plain chain (torch) or has
        layers that the form has no word for, or the library that writes it is missing (onnx).
      ValueError: as `load_pretrained`, and for a model without classes.
    """
    if format not in get_args(Format):
        raise ExportError(f"format {format!r}; allowed: {', '.join(get_args(Format))}")
    model = as_classifier(source)
    path = Path(out or _default_name(model, format)).expanduser().absolute()
    with _appearing(path) as temporary:
        if format == "huggingface":
            write_huggingface(model, temporary, name or f"hf:ORG/{path.name}")
        elif format == "torch":
            _write_torch(model, temporary)
        elif format in _WRITERS:
            _WRITERS[format](model, temporary)
        else:
            about = json.dumps(record_of(model), sort_keys=True)
            save_single_file(temporary, model.split()[1], about)
    return path


def _default_name(model: Classifier, format: Format) -> str:
    return f"{model.provenance.name}.{format}"


def _write_torch(model: Classifier, folder: Path) -> None:
    layers = _chain(model)
    arrays = plain_arrays(model)
    state: dict[str, np.ndarray] = {}
    for index, layer in enumerate(layers):
        if layer.name:
            kernel = arrays[f"{layer.name}.kernel"]
            axes = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
            state[f"{index}.weight"] = np.ascontiguousarray(kernel.transpose(axes))
            state[f"{index}.bias"] = arrays[f"{layer.name}.bias"]
    record = record_of(model)
    folder.mkdir()
    calls = [_call(layer, arrays) for layer in layers]
    text = json.dumps({**record, "layers": calls}, sort_keys=True)
    write_safetensors(folder / SINGLE_FILE, state, {"format": "pt", "weight": text})
    text = runner_text(record["id"], model.network.activations[0], SINGLE_FILE)
    (folder / _RUNNER).write_text(text, encoding="utf-8")


def _chain(model: Classifier) -> list[Layer]:
    """The layers in order, the head after one that drops the locations.

    Raises:
      ExportError: if the network adds signal paths or has layers that are not written here.
    """
    try:
        layers = list(layers_of(model.network.layout))
    except NotAChainError as error:
        raise ExportError(f"{model.provenance.name}: {error}") from None
    if unknown := sorted({layer.kind for layer in layers} - set(_CALLS)):
        raise ExportError(
            f"{model.provenance.name} has layers of kind {', '.join(unknown)}, which this form "
            f"does not write; allowed: {', '.join(_CALLS)}; use safetensors"
        )
    head = next(i for i, layer in enumerate(layers) if layer.kind == "dense")
    return [*layers[:head], Layer("flatten"), *layers[head:]]


def _call(layer: Layer, arrays: Mapping[str, np.ndarray]) -> list[Any]:
    """A layer as PyTorch builds it: the class and its positional arguments."""
    shape = arrays[f"{layer.name}.kernel"].shape if layer.name else ()
    return _CALLS[layer.kind](layer, shape)


_CALLS: dict[str, Callable[[Layer, tuple[int, ...]], list[Any]]] = {
    "per_location": lambda layer, shape: ["PerLocation"],
    "activation": lambda layer, shape: ["Activation"],
    "conv": lambda layer, shape: ["Conv2d", *shape[2:], shape[0], layer.stride, shape[0] // 2],
    "max_pool": lambda layer, shape: [
        "MaxPool2d", layer.kernel_size, layer.stride, (layer.kernel_size - 1) // 2
    ],
    "mean": lambda layer, shape: ["AdaptiveAvgPool2d", 1],
    "flatten": lambda layer, shape: ["Flatten"],
    "dense": lambda layer, shape: ["Linear", *shape],
}  # fmt: skip


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end and removed on failure.

    Raises:
      ExportError: `path` exists, or cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise ExportError(f"{path} exists; remove it or give another --out")
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.rename(temporary, path)
    except OSError as error:
        kind = FullDiskError if error.errno in FULL_DISK else ExportError
        raise kind(f"{path} cannot be written ({error.strerror or error}); give --out") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        elif temporary.exists():
            temporary.unlink()
