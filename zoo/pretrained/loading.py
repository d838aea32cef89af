"""A model with its weights: published ones, verified byte by byte, or those of a training run.

Nothing is solved: the activation's constants come with the weights.
"""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from zoo.checkpoint import load_single_file, load_weights, read_checkpoint, read_record
from zoo.classifier import OWN, Classifier, Provenance
from zoo.complexity import count_params
from zoo.data import Preprocessing
from zoo.models import Params, Solved, create_model, graph_of, merge, split
from zoo.pretrained.adapting import adapt
from zoo.pretrained.address import Address, File, Run, parse_address
from zoo.pretrained.manifest import SINGLE_FILE, WEIGHTS, Manifest
from zoo.pretrained.runs import chosen_step, run_record
from zoo.pretrained.single_file import manifest_of_file
from zoo.pretrained.sources import locate
from zoo.pretrained.strict_json import ManifestError

_log = logging.getLogger("zoo.pretrained")
MODEL_RECORD = "model"
_RUN_FIELDS = ("arch", "overrides", "preprocess", "classes")
_MODEL_FIELDS = (*_RUN_FIELDS, "activation", "shaping", "config", "solved")


def load_pretrained(
    source: str | Path,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    step: int | Literal["best"] | None = None,
    seed: int = 0,
) -> Classifier:
    """A model with trained weights, its preprocessing, classes and provenance.

      model = load_pretrained("vanilla_resnet50_tat_lrelu.digits")
      logits = model(model.preprocess("three.png"))

    Args:
      source: an address (`zoo.pretrained.address`): `arch.tag`, or `arch` for its default weight;
        a path, which is the folder of a published weight or of `zoo export`, a safetensors file of
        `zoo export`, or the directory of a training run; a folder or file on a server,
        `https://HOST/PATH`, or a folder in a repository, `hf:ORG/NAME@REVISION`. What is not on
        this machine is downloaded into the cache, and no connection is opened for what is.
      num_classes, in_channels, image_size: where they differ from the weight's, the network is
        adapted (`adapt`), and a line of the log says what was kept, adapted and newly initialised;
        `evaluate` refuses a model with a new head until it has `classes`.
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
    address = parse_address(source)
    if step is not None and not isinstance(address, Run):
        raise ValueError(f"step={step!r} belongs to training runs; {source} is a published weight")
    match address:
        case Run(path):
            model = load_run(path, step)
        case File(path):
            model = load_file(path)
        case _:
            model = _load_published(address)
    adapted = adapt(
        model, num_classes=num_classes, in_channels=in_channels, image_size=image_size, seed=seed
    )
    if adapted is not model:
        _log.warning("%s", adapted.provenance.report)
    return adapted


def as_classifier(model: Classifier | str | Path) -> Classifier:
    """`model` as it is, or what `load_pretrained` gives for it.

    Raises:
      TypeError: for a network without preprocessing; says how to add it.
      ValueError: as `load_pretrained`.
    """
    if isinstance(model, Classifier):
        return model
    if isinstance(model, str | Path):
        return load_pretrained(model)
    raise TypeError(
        f"a {type(model).__name__} does not say how images are brought to it; give "
        "zoo.Classifier(network, preprocess, classes), an id or a path"
    )


def load_run(run: Path, step: int | Literal["best"] | None = None) -> Classifier:
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
    if not isinstance(about, dict) or not set(_RUN_FIELDS) <= set(about):
        raise ManifestError(f"{where} does not say which model it holds; train it again")
    if about["arch"] == OWN:
        raise ManifestError(
            f"{where} holds a network of one's own; zoo.train with the same objects gives it back"
        )
    params = restored.state.get("ema") or restored.state["params"]
    model = _build(where, about, lambda abstract: params)
    provenance = dataclasses.replace(model.provenance, run=run_record(run, restored))
    return dataclasses.replace(model, provenance=provenance)


def load_file(path: Path) -> Classifier:
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


def _load_published(address: Address) -> Classifier:
    folder, manifest = locate(address)
    single = folder / SINGLE_FILE

    def read(abstract: Any) -> Params:
        if SINGLE_FILE in manifest.files:
            return load_single_file(single, abstract)
        # Weights may be stored in fewer bits than they are used in.
        return load_weights(folder / WEIGHTS, abstract, cast=True)

    return _described(folder, manifest, read)


def _described(where: Path, manifest: Manifest, read: Callable[[Any], Params]) -> Classifier:
    about = {name: getattr(manifest, name) for name in _MODEL_FIELDS}
    model = _build(str(where), about, read)
    _check(model, manifest, where)
    provenance = dataclasses.replace(model.provenance, manifest=manifest)
    return dataclasses.replace(model, provenance=provenance)


def _build(
    where: str, about: Mapping[str, Any], read_params: Callable[[Any], Params]
) -> Classifier:
    """Everything by name from our own registries; the text decides nothing else."""
    options = about.get("config") or about["overrides"]
    reserved = {"shaping", "seed"} & set(options)
    if reserved:
        raise ManifestError(f"{where}: {', '.join(sorted(reserved))} cannot be an override")
    try:
        solved = Solved.from_json({**about, **about.get("solved", {})})
        transform = Preprocessing.from_dict(about["preprocess"])
        model = create_model(about["arch"], **options, activation=solved.activations, abstract=True)
    except (ValueError, TypeError) as error:
        raise ManifestError(f"{where} describes no model of this version: {error}") from error
    graphdef, abstract = split(model)
    network = merge(graphdef, read_params(abstract))
    provenance = Provenance(about["arch"], solved.shaping)
    return Classifier(network, transform, tuple(about["classes"]), provenance)


def _check(model: Classifier, manifest: Manifest, folder: Path) -> None:
    count = count_params(model.network)
    if count != manifest.params:
        raise ManifestError(f"{folder}: {count} parameters, the manifest says {manifest.params}")
    recorded = (manifest.shaping or {}).get("graph_hash")
    if recorded is not None and graph_of(model.network).hash != recorded:
        raise ManifestError(
            f"{folder}: its activation was shaped for another network than this version builds "
            "from it; load it with the version that wrote it"
        )
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
