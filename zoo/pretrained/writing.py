"""Writing a weight so that it can be trusted: weights, manifest and card, whole or not at all."""

import dataclasses
import datetime
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from zoo.checkpoint import file_digests, save_weights
from zoo.classifier import Classifier
from zoo.common.environment import library_versions
from zoo.common.files import digest_of
from zoo.common.json_values import plain
from zoo.complexity import count_macs, count_params
from zoo.models import Network, Params, Shaping, changed_options, graph_of
from zoo.pretrained.address import parse_id
from zoo.pretrained.manifest import CARD, MANIFEST, WEIGHTS, Manifest, read_manifest
from zoo.pretrained.schema import FORMAT_VERSION, is_id
from zoo.shaping import method_to_json


def write_pretrained(
    folder: str | Path,
    model: Classifier,
    params: Params | None = None,
    *,
    metrics: Mapping[str, Mapping[str, Any]],
    recipe: Mapping[str, Any],
    data_terms: str,
    licence: str = "Apache-2.0",
    card: Callable[[Manifest], str] | None = None,
    extra_files: Mapping[str, str] | None = None,
    created: str | None = None,
) -> Manifest:
    """Writes `folder`, named `arch.tag`, as a published weight; `write_index` then lists it.

    Args:
      folder: must not exist; its name is the id.
      model: with `classes`, and of an architecture that has an id.
      params: its parameters; None takes those in `model`.
      metrics: data set -> top1, top5, loss, n, correct1, correct5, and how they were measured.
      recipe: the whole training configuration.
      data_terms: terms of the training data, one sentence.
      licence: of the weights.
      card: text of `card.md` from the manifest (whose `files` are those of the weights only).
      extra_files: further text files by name, for instance the training log.
      created: time of writing, ISO 8601; None is now.

    Raises:
      ValueError: if `folder` exists, its name is no id, or the model lacks classes or an id.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists():
        raise ValueError(f"{folder} exists; a tag is never reused, choose another")
    if not is_id(folder.name) or parse_id(folder.name).tag is None:
        raise ValueError(f"{folder.name!r} is no id; name the folder arch.tag")
    _require_described(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder.parent) as work:
        whole = Path(work) / "whole"
        save_weights(whole / WEIGHTS, model.split()[1] if params is None else params)
        manifest = Manifest(
            id=folder.name,
            **describe(model),
            metrics={name: dict(measured) for name, measured in metrics.items()},
            recipe=dict(recipe),
            files=file_digests(whole),
            licence=licence,
            data_terms=data_terms,
            versions=library_versions(),
            created=created or _now(),
        )
        texts = dict(extra_files or {})
        if card is not None:
            texts[CARD] = card(manifest)
        for name, text in texts.items():
            (whole / name).write_bytes(text.encode())
        manifest = dataclasses.replace(manifest, files=file_digests(whole))
        (whole / MANIFEST).write_bytes(manifest.to_json().encode())
        os.chmod(whole, 0o755)
        shutil.move(whole, folder)
    return manifest


def record_of(model: Classifier, tag: str = "unpublished") -> dict[str, Any]:
    """What a file with the weights of `model` says about them: a manifest without its `files`.

    Of a published weight that is its own manifest; of a training run what follows from the model,
    with the metrics and recipe of the run; of other networks, also of adapted ones, no metrics, and
    that licence and terms are unknown.

    Raises:
      ValueError: if the model lacks classes or an id of its architecture.
    """
    manifest = model.provenance.manifest
    if manifest is not None and model.provenance.report is None:
        return manifest.without_files()
    _require_described(model)
    return {
        **describe(model),
        "id": f"{model.provenance.arch}.{tag}",
        "metrics": {},
        "recipe": {},
        "licence": "unknown",
        "data_terms": "data: terms not stated",
        "versions": library_versions(),
        "created": _now(),
        **(model.provenance.run if model.provenance.report is None else {}),
    }


def rewrite_card(folder: Path, text: str) -> None:
    """Gives a published weight another card; `write_index` then vouches for it.

    The manifest is replaced last: cut off in between, the folder fails verification and this is
    called again.
    """
    manifest = read_manifest(folder)
    (folder / CARD).write_bytes(text.encode())
    files = {**manifest.files, CARD: digest_of(text.encode())}
    changed = dataclasses.replace(manifest, files=files)
    (folder / MANIFEST).write_bytes(changed.to_json().encode())


def describe(model: Classifier) -> dict[str, Any]:
    """The fields of a manifest that follow from the model alone."""
    network, provenance = model.network, model.provenance
    size = (*model.preprocess.image_size, network.config.in_channels)
    return {
        "format_version": FORMAT_VERSION,
        "arch": provenance.arch,
        "overrides": plain(changed_options(network.config, provenance.arch)),
        "config": plain(dataclasses.asdict(network.config)),
        "solved": model.solved.to_json(),
        "activation": dataclasses.asdict(network.activations[0]),
        "shaping": shaping_record(network, provenance.shaping),
        "preprocess": plain(dataclasses.asdict(model.preprocess)),
        "classes": tuple(model.classes),
        "input_size": size,
        "params": count_params(network),
        "macs": count_macs(network, size),
    }


def shaping_record(network: Network, methods: tuple[Shaping, ...]) -> dict[str, Any] | None:
    """How the first activation was solved, and for which graph; None without shaping."""
    if not methods:
        return None
    method = methods[0]
    graph = graph_of(network)
    return {
        **method_to_json(method),
        "solved": dataclasses.asdict(network.activations[0]),
        "nonlinear_depth": graph.nonlinear_depth,
        "graph_hash": graph.hash,
    }


def _require_described(model: Classifier) -> None:
    if not model.classes or not model.provenance.arch:
        raise ValueError(
            "a weight needs the names of its classes and an architecture with an id; give "
            "Classifier(..., classes=..., provenance=Provenance(arch=...))"
        )


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
