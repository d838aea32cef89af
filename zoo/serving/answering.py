"""From the bytes of a picture to the answer about it, without HTTP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.classifier import Classifier
from zoo.evaluation.compatibility import require_trained
from zoo.evaluation.prediction import answer, probabilities
from zoo.pretrained.loading import as_classifier

SIZES = (1, 8, 32)
"""Numbers of pictures that the network is compiled for; a batch is filled up to the next one."""


class Answering:
    """A trained classifier that answers pictures.

    Args:
      model: whatever `load_pretrained` takes, or a classifier.

    Raises:
      ValueError: the classifier is not trained.
    """

    def __init__(self, model: Classifier | str | Path):
        self.model = as_classifier(model)
        require_trained(self.model)
        self._graphdef, self._params = self.model.split()

    def compile(self) -> None:
        """Compiles the network for every number of pictures, so that no request waits for it."""
        for size in SIZES:
            self.probabilities([self._empty()] * size)

    def read(self, picture: bytes) -> np.ndarray:
        """[height, width, channel] float32, as the network takes it.

        Raises:
          BadImageError: it is no whole image, or too much to decode.
        """
        return self.model.preprocess(picture)[0]

    def probabilities(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Per image the probabilities [classes]."""
        size = next(size for size in SIZES if size >= len(images))
        padded = np.stack([*images, *[self._empty()] * (size - len(images))])
        rows = np.asarray(probabilities(self._graphdef, self._params, padded, "highest"))
        return list(rows[: len(images)])

    def answer(self, row: np.ndarray, top: int) -> dict[str, Any]:
        """Class, name, index, probability, and `top` of them, best first."""
        named = answer("", row, self.model.classes, top)
        return {key: value for key, value in named.items() if key != "file"}

    def _empty(self) -> np.ndarray:
        preprocess = self.model.preprocess
        return np.zeros((*preprocess.image_size, preprocess.channels), np.float32)
