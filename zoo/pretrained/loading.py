"""A model with its weights: published ones, verified byte by byte, or those of a training run.

Nothing is solved: the activation's constants come with the weights.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from zoo.checkpoint import load_single_file, load_weights, read_checkpoint, read_record
from zoo.complexity import count_params
from zoo.data import Preprocessing
from zoo.models import Network, Params, create_model, merge, split
from zoo.pretrained.adapting import adapt
from zoo.pretrained.manifest import MANIFEST, SINGLE_FILE, WEIGHTS, Manifest
from zoo.pretrained.runs import chosen_step
from zoo.pretrained.single_file import manifest_of_file
from zoo.pretrained.sources import (
    FOLDER_PREFIX,
    is_address,
    locate,
    single_file,
)
from zoo.pretrained.strict_json import ManifestError
from zoo.shaping import ShapedActivation

_log = logging.getLogger("zoo.pretrained")
MODEL_RECORD = "model"
_MODEL_FIELDS = ("arch", "overrides", "activation", "preprocess", "classes")


def load_pretrained(
    source: str | Path,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    step: int | Literal["best"] | None = None,
    seed: int = 0,
) -> Network:
    """A model with trained weights, its `preprocess`, `classes` and (if published) `manifest`.

      model = load_pretrained("vanilla_resnet50_tat_lrelu.digits")
      logits = model(model.preprocess("three.png"))

    Args:
      source: `arch.tag`; `arch` if it has one tag only; `dir:PATH`, the folder of a published
        weight or of `zoo export --format huggingface`; `FILE.safetensors`, which `zoo export`
        wrote; either of them on a server, `https://HOST/PATH`, or a folder in a repository,
        `hf:ORG/NAME@REVISION`; or the directory of a training run. What is not on this
        machine is downloaded into the cache, and no connection is opened for what is.
      num_classes, in_channels, image_size: where they differ from the weight's, the network is
        adapted (`adapt`), and a line of the log says what was kept, adapted and newly initialised;
        `evaluate` refuses a network with a new head until its `classes` are set.
      step: of a training run: a number, "best", or None for the one that fine-tuning chose or
        `checkpoint.served` of its configuration names, the newest unless it says "best".
      seed: of a new head.

    Raises:
      UnknownWeightError: for a name under which nothing is published.
      ManifestError: for a manifest that is damaged, newer, or describes no model.
      CheckpointError: for files that are not the published ones or do not fit the model.
      DownloadError: for a weight that is not on this machine and cannot be downloaded.
      ValueError: for a number of classes, channels or pixels that the network cannot have.
    """
    text = str(source)
    file = single_file(text)
    run = _run_folder(text) if file is None else None
    if run is not None:
        model = load_run(run, step)
    elif step is not None:
        raise ValueError(f"step={step!r} belongs to training runs; {text} is a published weight")
    else:
        model = _load_published(text) if file is None else load_file(file)
    adapted = adapt(
        model, num_classes=num_classes, in_channels=in_channels, image_size=image_size, seed=seed
    )
    if adapted is not model:
        _log.warning("%s", adapted.load_report)
    return adapted


def load_run(run: Path, step: int | Literal["best"] | None = None) -> Network:
    """The model of a training run: its averaged weights where there are any, else its weights.

    Raises:
      CheckpointError: if the run holds no intact step.
      ManifestError: if a step does not describe its model.
    """
    step = served_step(run) if step is None else step
    parameters = read_record(run, step).parameters
    restored = read_checkpoint(run, _nested_abstract(parameters), step)
    where = f"step {restored.step} of {run}"
    about = restored.record.get(MODEL_RECORD)
    if not isinstance(about, dict) or not set(_MODEL_FIELDS) <= set(about):
        raise ManifestError(f"{where} does not say which model it holds; train it again")
    params = restored.state.get("ema") or restored.state["params"]
    return _build(where, about, lambda abstract: params)


def load_file(path: Path) -> Network:
    """The model in one safetensors file of `zoo export`.

    Raises:
      CheckpointError: no such file, a damaged or a foreign one.
      ManifestError: it describes no model of this version.
    """
    manifest = manifest_of_file(path)
    return _described(path, manifest, lambda abstract: load_single_file(path, abstract))


def served_step(run: str | Path) -> int | Literal["best"] | None:
    """Which step a run directory stands for: a number, "best", or None for the newest."""
    chosen = chosen_step(run)
    if chosen is not None:
        return chosen
    config = read_record(run).record.get("config", {})
    return "best" if config.get("checkpoint", {}).get("served") == "best" else None


def _run_folder(text: str) -> Path | None:
    """The folder, if `text` means a directory that is not a published weight's."""
    looks_like_path = any(mark in text for mark in ("/", "\\", "~")) or text in (".", "..")
    if text.startswith(FOLDER_PREFIX) or is_address(text):
        return None
    path = Path(text).expanduser()
    if not looks_like_path and not (path / "checkpoints").is_dir():
        return None
    if (path / MANIFEST).exists():
        raise ValueError(f"{text} is the folder of a published weight; write dir:{text}")
    return path


def _load_published(text: str) -> Network:
    folder, manifest = locate(text)
    single = folder / SINGLE_FILE

    def read(abstract: Any) -> Params:
        if SINGLE_FILE in manifest.files:
            return load_single_file(single, abstract)
        # Weights may be stored in fewer bits than they are used in.
        return load_weights(folder / WEIGHTS, abstract, cast=True)

    return _described(folder, manifest, read)


def _described(where: Path, manifest: Manifest, read: Callable[[Any], Params]) -> Network:
    about = {name: getattr(manifest, name) for name in _MODEL_FIELDS}
    model = _build(str(where), about, read)
    _check(model, manifest, where)
    model.manifest = manifest
    return model


def _build(where: str, about: Mapping[str, Any], read_params: Callable[[Any], Params]) -> Network:
    """Everything by name from our own registries; the text decides nothing else."""
    reserved = {"shaping", "seed"} & set(about["overrides"])
    if reserved:
        raise ManifestError(f"{where}: {', '.join(sorted(reserved))} cannot be an override")
    try:
        solved = ShapedActivation(**about["activation"])
        transform = Preprocessing.from_dict(about["preprocess"])
        model = create_model(about["arch"], **about["overrides"], activation=solved, abstract=True)
    except (ValueError, TypeError) as error:
        raise ManifestError(f"{where} describes no model of this version: {error}") from error
    graphdef, abstract = split(model)
    model = merge(graphdef, read_params(abstract))
    model.preprocess, model.classes = transform, tuple(about["classes"])
    return model


def _check(model: Network, manifest: Manifest, folder: Path) -> None:
    count = count_params(model)
    if count != manifest.params:
        raise ManifestError(f"{folder}: {count} parameters, the manifest says {manifest.params}")
    if len(manifest.classes) != model.config.num_classes:
        raise ManifestError(
            f"{folder}: {len(manifest.classes)} class names for {model.config.num_classes} logits"
        )


def _nested_abstract(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Stored names such as `opt_state/0/trace/head.bias` as nested dictionaries of shapes."""
    tree: dict[str, Any] = {}
    for name, spec in parameters.items():
        *path, leaf = name.split("/")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = jax.ShapeDtypeStruct(spec.shape, spec.dtype)
    return tree
