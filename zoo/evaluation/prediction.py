"""Class names for image files."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from zoo.classifier import Classifier
from zoo.common.console import watched
from zoo.data.imagenet.labels import readable
from zoo.evaluation.compatibility import require_trained
from zoo.models import Params, merge
from zoo.pretrained.loading import as_classifier

_BATCH_SIZE = 32


def predict(
    model: Classifier | str | Path,
    files: Sequence[str | Path],
    *,
    top: int = 5,
    precision: str = "highest",
    progress: bool = False,
) -> list[dict[str, Any]]:
    """The most probable classes of image files, in the order given.

      predict("vanilla_resnet50_tat_lrelu.digits", ["three.png"])[0]["class"]

    Args:
      model: a classifier, or whatever `load_pretrained` accepts.
      files: paths of images.
      top: how many classes to return, at most as many as there are.
      precision: of matrix products.
      progress: show a progress bar on standard error.

    Returns:
      Per file: file, class, name, index, probability of the first, and `top`, a list of
      {class, name, index, probability}, best first. `name` is readable where the class is a
      WordNet id. Without class names a class is its index as text.

    Raises:
      BadImageError: for a file that is not a whole image; names it.
      ValueError: for no files, top < 1, or a model that is not trained.
    """
    if top < 1 or not files:
        raise ValueError(f"top={top}, {len(files)} files; give top >= 1 and at least one file")
    model = as_classifier(model)
    require_trained(model)
    graphdef, params = model.split()
    size = min(_BATCH_SIZE, len(files))
    answers = []
    starts = range(0, len(files), size)
    for start in watched(starts, "predicting", len(starts), progress):
        chunk = list(files[start : start + size])
        images = model.preprocess(chunk)
        padded = np.concatenate([images, np.zeros((size - len(chunk), *images.shape[1:]), "f4")])
        rows = np.asarray(_probabilities(graphdef, params, padded, precision))[: len(chunk)]
        answers += [
            _answer(str(file), row, model.classes, top)
            for file, row in zip(chunk, rows, strict=True)
        ]
    return answers


@functools.partial(jax.jit, static_argnames=("graphdef", "precision"))
def _probabilities(
    graphdef: nnx.GraphDef, params: Params, images: jax.Array, precision: str
) -> jax.Array:
    with jax.default_matmul_precision(precision):
        return jax.nn.softmax(merge(graphdef, params)(images))


def _answer(file: str, row: np.ndarray, classes: Sequence[str], top: int) -> dict[str, Any]:
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
