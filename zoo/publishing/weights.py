"""Writing one published weight: measured first, whole or not at all, never over a released one."""

import contextlib
import functools
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from zoo.classifier import Classifier
from zoo.data import Source
from zoo.models import Params, statistics_of
from zoo.pretrained import Manifest, load_pretrained, read_manifest, write_pretrained
from zoo.pretrained.card import render_card
from zoo.pretrained.index import INDEX
from zoo.pretrained.manifest import MANIFEST
from zoo.publishing.measuring import evaluation_command, measure, metric_entry
from zoo.publishing.origins import git


class ReleasedError(ValueError):
    """A weight that others may have: its bytes never change under its name."""


def write_weight(
    folder: Path,
    model: Classifier,
    config: Mapping[str, Any],
    *,
    source: Source,
    commit: str,
    terms: str,
    recipe: Mapping[str, Any],
    comparison: str,
    log: str,
    bfloat16: bool = False,
) -> Manifest:
    """Measures and writes one weight; `write_index` then lists it.

    Args:
      folder: `checkpoints/ID`, which must not exist.
      model: the network.
      config: of its training.
      source: to measure it on.
      commit: of the code by which it is measured.
      terms: of the data.
      recipe: how the weight came about.
      comparison: Markdown for the card.
      log: the training log.
      bfloat16: store the trained parameters as bfloat16; `model` has them rounded already.
    """
    params = model.split()[1]
    result = measure(model, source)
    command = evaluation_command(folder.name, config)
    return write_pretrained(
        folder,
        model,
        _in_bfloat16(params, statistics_of(model.network)) if bfloat16 else params,
        metrics={result.data: metric_entry(result, command, commit)},
        recipe={**recipe, "stored_as": "bfloat16" if bfloat16 else "float32"},
        data_terms=terms,
        card=functools.partial(render_card, comparison=comparison),
        extra_files={"log.jsonl": log},
    )


def is_published(folder: Path, model: Classifier) -> bool:
    """Whether `folder` holds these weights.

    Raises:
      ValueError: if it holds others.
    """
    if not (folder / MANIFEST).exists():
        return False
    if not same_weights(load_pretrained(f"dir:{folder}"), model):
        raise ValueError(f"{folder.name} is published with other weights; choose another tag")
    return True


@contextlib.contextmanager
def replaced(folder: Path, *, allowed: bool) -> Iterator[None]:
    """Where `allowed`, takes the weight in `folder` away for a new one; an error brings it back.

    Raises:
      ReleasedError: if the weight is listed in a release.
    """
    if not allowed or not folder.exists():
        yield
        return
    if why := release_of(folder):
        raise ReleasedError(f"{folder.name} is never replaced: {why}; publish under another tag")
    aside = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
        raise
    shutil.rmtree(aside)


def release_of(folder: Path) -> str | None:
    """Where a published weight is released, in words; None if nobody else can have it.

    It is, if its manifest lists a file, if the index beside it names servers, or if the index of a
    version that git has tagged lists it.
    """
    releases = read_manifest(folder).releases
    if releases:
        return f"its manifest lists a release ({', '.join(sorted(releases))})"
    checkpoints = folder.parent
    index = checkpoints / INDEX
    listed = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    if folder.name in listed.get("weights", {}) and listed.get("urls"):
        return f"{index.name} says that it is served from {listed['urls'][0]}"
    for tag in _tags(checkpoints):
        with contextlib.suppress(ValueError):  # a version from before there was an index
            released = json.loads(git(checkpoints, "show", f"{tag}:./{INDEX}"))
            if folder.name in released["weights"]:
                return f"version {tag} lists it"
    return None


def same_weights(first: Classifier, second: Classifier) -> bool:
    """Whether two networks have the same parameters, bit for bit."""
    ours, theirs = first.split()[1], second.split()[1]
    return ours.keys() == theirs.keys() and all(
        np.array_equal(np.asarray(ours[name]), np.asarray(theirs[name])) for name in ours
    )


def rounded_to_bfloat16(model: Classifier) -> Classifier:
    """The same network, its trained parameters rounded to bfloat16; batch statistics stay."""
    params = model.split()[1]
    stored = _in_bfloat16(params, statistics_of(model.network))
    return model.with_params({n: value.astype(params[n].dtype) for n, value in stored.items()})


def _in_bfloat16(params: Params, statistics: frozenset[str]) -> Params:
    return {
        name: value if name in statistics else value.astype(jnp.bfloat16)
        for name, value in params.items()
    }


def _tags(checkpoints: Path) -> list[str]:
    try:
        return git(checkpoints, "tag").split()
    except ValueError:  # not a folder of git
        return []
