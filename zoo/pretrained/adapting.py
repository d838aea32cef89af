"""A pretrained network for other classes, image channels or image sizes than it was trained on."""

import dataclasses
from typing import Any

import jax
import numpy as np

from zoo.classifier import Classifier, LoadReport
from zoo.data import Preprocessing
from zoo.models import Layout, Params, merge, parameters_of, split
from zoo.pretrained.channels import change_channels


def adapt(
    model: Classifier,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
) -> Classifier:
    """The model for other classes or images; its `provenance.report` says what differs.

    The activation stays, the manifest is still the weight's: the accuracy it tells was measured on
    the images of the weight, for others it has to be measured anew. None keeps what there is.

    Args:
      model: what is adapted; it stays as it is.
      num_classes: a new head; `classes` become empty. 0 leaves the head out.
      in_channels: the first convolution and the normalisation of `preprocess` are adapted as
        `zoo.pretrained.channels` says; for other than 1 or 3, images are arrays, not files.
      image_size: side or (height, width) in pixels to which `preprocess` brings images.
      seed: of a new head.

    Raises:
      ValueError: for numbers that no network has, and images smaller than it reduces them by.
    """
    transform = _resized(model, image_size)
    wanted: dict[str, Any] = {"num_classes": num_classes, "in_channels": in_channels}
    overrides = {k: v for k, v in wanted.items() if v not in (None, getattr(model.config, k))}
    if not overrides and transform == model.preprocess:
        return model
    abstract = model.fresh(abstract=True, **overrides)
    graphdef, names = split(abstract)
    params, adapted, new = dict(model.split()[1]), {}, {}
    if "in_channels" in overrides:
        adapted, transform = _adapted(params, names, transform, model)
    if "num_classes" in overrides:
        new = _fresh_head(model, abstract.layout, overrides, seed)
    network = merge(graphdef, {name: {**params, **adapted, **new}[name] for name in names})
    report = _report(model, names, adapted, new, _changes(model.preprocess, transform))
    return dataclasses.replace(
        model,
        network=network,
        preprocess=transform,
        classes=() if "num_classes" in overrides else model.classes,
        provenance=dataclasses.replace(model.provenance, report=report),
    )


def _report(
    model: Classifier, names: Params, adapted: Params, new: Params, changes: list[str]
) -> LoadReport:
    """What differs from the weight, also by what `model` was adapted to before."""
    source = model.provenance.name
    before = model.provenance.report or LoadReport(source, ())
    fresh = {*before.new, *new}
    changed = {*before.adapted, *adapted} - fresh
    return LoadReport(
        source=source,
        kept=tuple(name for name in names if name not in fresh | changed),
        new=tuple(sorted(fresh)),
        adapted=tuple(sorted(changed)),
        changes=(*before.changes, *changes),
    )


def _resized(model: Classifier, size: int | tuple[int, int] | None) -> Preprocessing:
    if size is None:
        return model.preprocess
    sides = (size, size) if isinstance(size, int) else tuple(size)
    transform = dataclasses.replace(model.preprocess, image_size=sides)
    least = model.network.feature_info[-1].stride
    if min(sides) < least:
        raise ValueError(
            f"image size {' x '.join(map(str, sides))} is smaller than {least} pixels, by which "
            f"{model.provenance.name} reduces images; give at least {least} x {least}"
        )
    return transform


def _adapted(
    params: Params, names: Params, transform: Preprocessing, model: Classifier
) -> tuple[dict[str, Any], Preprocessing]:
    """The first convolution, which alone sees the channels, and the preprocessing it needs."""
    heads = parameters_of(model.network.layout, names, "head")
    (name,) = (
        name
        for name, leaf in names.items()
        if name not in heads and leaf.shape != params[name].shape
    )
    per_location = model.config.input_norm == "per_location"
    channels = names[name].shape[-2] - per_location
    kernel, mean, std = change_channels(
        np.asarray(params[name]), transform.mean, transform.std, channels, per_location=per_location
    )
    adapted = dataclasses.replace(transform, channels=channels, mean=mean, std=std)
    return {name: jax.numpy.asarray(kernel)}, adapted


def _fresh_head(model: Classifier, layout: Layout, overrides: dict[str, Any], seed: int) -> Params:
    def head() -> Params:
        params = split(model.fresh(seed=seed, **overrides))[1]
        return {name: params[name] for name in parameters_of(layout, params, "head")}

    # Under jit the compiler drops the initial weights of all other layers.
    return jax.jit(head)()


def _changes(before: Preprocessing, after: Preprocessing) -> list[str]:
    found = []
    if before.channels != after.channels:
        mean, std = (" ".join(f"{v:.3f}" for v in values) for values in (after.mean, after.std))
        found.append(
            f"{after.channels} instead of {before.channels} image channels (mean {mean}, std {std})"
        )
    if before.image_size != after.image_size:
        new, old = (" x ".join(map(str, t.image_size)) for t in (after, before))
        found.append(f"images of {new} instead of {old} pixels")
    return found
