"""A model with its weights: published ones, verified byte by byte, or those of a training run.

Nothing is solved: the activation's constants come with the weights.
"""

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from zoo.checkpoint import load_weights, read_checkpoint, read_record
from zoo.complexity import count_params
from zoo.data import Preprocessing
from zoo.models import Network, Params, create_model, merge, overrides_of, split
from zoo.pretrained.manifest import MANIFEST, WEIGHTS, Manifest
from zoo.pretrained.sources import FOLDER_PREFIX, is_address, locate
from zoo.pretrained.strict_json import ManifestError
from zoo.shaping import ShapedActivation

_log = logging.getLogger("zoo.pretrained")
_HEAD = "head."
MODEL_RECORD = "model"
_MODEL_FIELDS = ("arch", "overrides", "activation", "preprocess", "classes")


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Which parameters came from the weights and which are newly initialised."""

    source: str
    kept: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.source}: {len(self.kept)} parameters kept; newly initialised, to be trained "
            f"before evaluation: {', '.join(self.new)}"
        )


def load_pretrained(
    source: str | Path,
    *,
    num_classes: int | None = None,
    step: int | Literal["best"] | None = None,
    seed: int = 0,
) -> Network:
    """A model with trained weights, its `preprocess`, `classes` and (if published) `manifest`.

      model = load_pretrained("vanilla_resnet50_tat_lrelu.digits")
      logits = model(model.preprocess("three.png"))

    Args:
      source: `arch.tag`; `arch` if it has one tag only; `dir:PATH`, the folder of a published
        weight; the same on a server, `https://HOST/PATH` or `hf:ORG/NAME@REVISION`; or the
        directory of a training run. What is not on this machine is downloaded into the cache, and
        no connection is opened for what is.
      num_classes: another number replaces the head by a new one, which a line of the log says;
        `evaluate` refuses such a model until its `classes` are set.
      step: of a training run: a number, "best", or None for the one that `checkpoint.served` of
        its configuration names, the newest unless it says "best".
      seed: of a new head.

    Raises:
      UnknownWeightError: for a name under which nothing is published.
      ManifestError: for a manifest that is damaged, newer, or describes no model.
      CheckpointError: for files that are not the published ones or do not fit the model.
      DownloadError: for a weight that is not on this machine and cannot be downloaded.
    """
    text = str(source)
    run = _run_folder(text)
    if run is not None:
        model = load_run(run, step)
    elif step is not None:
        raise ValueError(f"step={step!r} belongs to training runs; {text} is a published weight")
    else:
        model = _load_published(text)
    if num_classes is None or num_classes == model.config.num_classes:
        return model
    model, report = replace_head(model, num_classes, seed=seed)
    _log.warning("%s", report)
    return model


def replace_head(model: Network, num_classes: int, *, seed: int = 0) -> tuple[Network, LoadReport]:
    """The same network with a new head for `num_classes` classes, and what was kept.

    `preprocess` and `manifest` stay; `classes` become empty.
    """
    options = {**overrides_of(model), "num_classes": num_classes, "activation": model.activation}
    build = functools.partial(create_model, model.arch, **options)
    graphdef, names = split(build(abstract=True))

    def fresh_head() -> Params:
        params = split(build(seed=seed))[1]
        return {name: params[name] for name in params if name.startswith(_HEAD)}

    # Under jit the compiler drops the initial weights of all other layers.
    new = jax.jit(fresh_head)()
    old = split(model)[1]
    kept = tuple(name for name in names if name not in new)
    merged = merge(graphdef, {**{name: old[name] for name in kept}, **new})
    merged.preprocess, merged.manifest = model.preprocess, model.manifest
    source = model.manifest.id if model.manifest else model.arch
    return merged, LoadReport(source, kept, tuple(sorted(new)))


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


def served_step(run: str | Path) -> Literal["best"] | None:
    """Which step a run directory stands for: "best", or None for the newest."""
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
    about = {name: getattr(manifest, name) for name in _MODEL_FIELDS}
    model = _build(str(folder), about, lambda abstract: load_weights(folder / WEIGHTS, abstract))
    _check(model, manifest, folder)
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
