"""A pretrained network for other classes, image channels or image sizes than it was trained on."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from zoo.data import Preprocessing
from zoo.models import Network, Params, create_model, merge, overrides_of, split
from zoo.pretrained.channels import change_channels

_HEAD = "head."


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What a network has from its weights, and what not.

    Attributes:
      source: id of the weight, or the architecture.
      kept: parameters as they were.
      adapted: parameters computed from those of the weight.
      new: parameters newly initialised, to be trained before evaluation.
      changes: further differences from the weight, each a clause.
    """

    source: str
    kept: tuple[str, ...]
    new: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def __str__(self) -> str:
        clauses = [f"{len(self.kept)} parameters kept", *self.changes]
        if self.adapted:
            clauses.append(f"adapted: {', '.join(self.adapted)}")
        if self.new:
            names = ", ".join(self.new)
            clauses.append(f"newly initialised, to be trained before evaluation: {names}")
        return f"{self.source}: {'; '.join(clauses)}"


def adapt(
    model: Network,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
) -> Network:
    """The network for other classes or images; `load_report` of the result says what differs.

    The activation stays, `manifest` is still the weight's: the accuracy it tells was measured on
    the images of the weight, for others it has to be measured anew. None keeps what there is.

    Args:
      model: with `preprocess` set.
      num_classes: a new head; `classes` become empty.
      in_channels: the first convolution and the normalisation of `preprocess` are adapted as
        `zoo.pretrained.channels` says; for other than 1 or 3, images are arrays, not files.
      image_size: side or (height, width) in pixels to which `preprocess` brings images.
      seed: of a new head.

    Raises:
      ValueError: for numbers that no network has, and images smaller than it reduces them by.
    """
    transform = _resized(model, image_size)
    wanted = {"num_classes": num_classes, "in_channels": in_channels}
    overrides = {k: v for k, v in wanted.items() if v not in (None, getattr(model.config, k))}
    if not overrides and transform == model.preprocess:
        return model
    options = {**overrides_of(model), **overrides, "activation": model.activation}
    build = functools.partial(create_model, model.arch, **options)
    graphdef, names = split(build(abstract=True))
    params, adapted = dict(split(model)[1]), {}
    if "in_channels" in overrides:
        adapted, transform = _adapted(params, names, transform, model)
    new = _fresh_head(build, seed) if "num_classes" in overrides else {}
    result = merge(graphdef, {name: {**params, **adapted, **new}[name] for name in names})
    result.preprocess, result.manifest = transform, model.manifest
    result.classes = () if new else model.classes
    result.load_report = _report(model, names, adapted, new, _changes(model.preprocess, transform))
    return result


def _report(
    model: Network, names: Params, adapted: Params, new: Params, changes: list[str]
) -> LoadReport:
    """What differs from the weight, also by what `model` was adapted to before."""
    source = model.manifest.id if model.manifest else model.arch
    before = model.load_report or LoadReport(source, ())
    fresh = {*before.new, *new}
    changed = {*before.adapted, *adapted} - fresh
    return LoadReport(
        source=source,
        kept=tuple(name for name in names if name not in fresh | changed),
        new=tuple(sorted(fresh)),
        adapted=tuple(sorted(changed)),
        changes=(*before.changes, *changes),
    )


def _resized(model: Network, size: int | tuple[int, int] | None) -> Preprocessing:
    if model.preprocess is None:
        raise ValueError("the network has no preprocessing; load it with load_pretrained")
    if size is None:
        return model.preprocess
    sides = (size, size) if isinstance(size, int) else tuple(size)
    transform = dataclasses.replace(model.preprocess, image_size=sides)
    least = model.feature_info[-1].stride
    if min(sides) < least:
        raise ValueError(
            f"image size {' x '.join(map(str, sides))} is smaller than {least} pixels, by which "
            f"{model.arch} reduces images; give at least {least} x {least}"
        )
    return transform


def _adapted(
    params: Params, names: Params, transform: Preprocessing, model: Network
) -> tuple[dict[str, Any], Preprocessing]:
    """The first convolution, which alone sees the channels, and the preprocessing it needs."""
    (name,) = (
        name
        for name, leaf in names.items()
        if not name.startswith(_HEAD) and leaf.shape != params[name].shape
    )
    per_location = model.config.input_norm == "per_location"
    channels = names[name].shape[-2] - per_location
    kernel, mean, std = change_channels(
        np.asarray(params[name]), transform.mean, transform.std, channels, per_location=per_location
    )
    adapted = dataclasses.replace(transform, channels=channels, mean=mean, std=std)
    return {name: jax.numpy.asarray(kernel)}, adapted


def _fresh_head(build: Any, seed: int) -> Params:
    def head() -> Params:
        params = split(build(seed=seed))[1]
        return {name: params[name] for name in params if name.startswith(_HEAD)}

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
