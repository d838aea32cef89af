"""Class names for image files."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx

from zoo.classifier import Classifier
from zoo.common.console import watched
from zoo.data import BadImageError, Preprocessing
from zoo.data.imagenet.labels import readable
from zoo.data.preprocessing import ImageInput
from zoo.evaluation.compatibility import require_trained
from zoo.models import Params, merge
from zoo.pretrained.loading import as_classifier

_BATCH_SIZE = 32


def predict(
    model: Classifier | str | Path,
    files: Sequence[ImageInput],
    *,
    top: int = 5,
    precision: str = "highest",
    bad_examples: Literal["error", "skip"] = "error",
    progress: bool = False,
) -> list[dict[str, Any]]:
    """The most probable classes of image files, in the order given.

      predict("vanilla_resnet50_tat_lrelu.digits", ["three.png"])[0]["class"]

    Args:
      model: a classifier, or whatever `load_pretrained` accepts.
      files: paths of images; encoded bytes, Pillow images and uint8 arrays do as well.
      top: how many classes to return, at most as many as there are.
      precision: of matrix products.
      bad_examples: "error" stops at a file that is not a whole image; "skip" answers with
        {file, error} in its place.
      progress: show a progress bar on standard error.

    Returns:
      Per file: file, class, name, index, probability of the first, and `top`, a list of
      {class, name, index, probability}, best first. `name` is readable where the class is a
      WordNet id. Without class names a class is its index as text. What is no file is called by
      its place, such as "image 0".

    Raises:
      BadImageError: for a file that is not a whole image; names it.
      ValueError: for no files, top < 1, or a model that is not trained.
    """
    if top < 1 or not len(files):
        raise ValueError(f"top={top}, {len(files)} files; give top >= 1 and at least one file")
    model = as_classifier(model)
    require_trained(model)
    graphdef, params = model.split()
    size = min(_BATCH_SIZE, len(files))
    answers = []
    starts = range(0, len(files), size)
    for start in watched(starts, "predicting", len(starts), progress):
        chunk = list(files[start : start + size])
        read = [_read(model.preprocess, image, bad_examples) for image in chunk]
        empty = np.zeros((*model.preprocess.image_size, model.preprocess.channels), np.float32)
        images = [empty if isinstance(image, str) else image for image in read]
        padded = np.stack(images + [empty] * (size - len(chunk)))
        rows = np.asarray(probabilities(graphdef, params, padded, precision))
        for place, image in enumerate(read):
            name = _name(chunk[place], start + place)
            bad = isinstance(image, str)
            found = {"file": name, "error": image} if bad else None
            answers.append(found or answer(name, rows[place], model.classes, top))
    return answers


def _read(preprocess: Preprocessing, image: ImageInput, bad_examples: str) -> np.ndarray | str:
    """An image as the network takes it; or, skipping, why it cannot be read."""
    try:
        return preprocess(image)[0]
    except BadImageError as error:
        if bad_examples == "error":
            raise
        return str(error)


def _name(image: ImageInput, place: int) -> str:
    name = image if isinstance(image, str | Path) else getattr(image, "filename", "")
    return str(name) or f"image {place}"


@functools.partial(jax.jit, static_argnames=("graphdef", "precision"))
def probabilities(
    graphdef: nnx.GraphDef, params: Params, images: jax.Array, precision: str
) -> jax.Array:
    """[batch, classes] of normalised images [batch, height, width, channel]."""
    with jax.default_matmul_precision(precision):
        return jax.nn.softmax(merge(graphdef, params)(images))


def answer(file: str, row: np.ndarray, classes: Sequence[str], top: int) -> dict[str, Any]:
    """What `predict` returns for one file, from its probabilities [classes]."""
    if not np.isfinite(row).all():
        raise ValueError(f"{file}: the model answers NaN or infinity; its weights are unusable")
    best = np.argsort(-row, kind="stable")[:top].tolist()
    ranked = [
        {
            "class": classes[index] if classes else str(index),
            "name": readable(classes[index]) if classes else str(index),
            "index": index,
            "probability": float(row[index]),
        }
        for index in best
    ]
    return {"file": file, **ranked[0], "top": ranked}
