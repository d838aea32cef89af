"""What no network is needed for: logistic regression on the pixels of small pictures."""

import dataclasses
from typing import Any

import numpy as np
from PIL import Image

from zoo.data import Preprocessing, Source, eval_batches, limit
from zoo.evaluation.measures import wilson_interval
from zoo.finetuning.probe import linear_probe

_SIDE, _MOST_EXAMPLES = 16, 5000
_BATCH_SIZE = 256


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Logistic regression on pixels.

    Attributes:
      correct1, n: right answers and images of the split that measures.
      side: longer side in pixels of what it sees.
      examples: images it was fitted to.
    """

    correct1: int
    n: int
    side: int
    examples: int

    def to_json(self) -> dict[str, Any]:
        """All of it, and what follows, as JSON values."""
        interval = list(wilson_interval(self.correct1, self.n))
        return {**dataclasses.asdict(self), "top1": self.correct1 / self.n, "interval": interval}


def pixel_baseline(
    train: Source, choose: Source, test: Source, preprocessing: Preprocessing
) -> Baseline:
    """Fits it to at most 5,000 training images of at most 16 pixels a side, and measures it.

    The penalty is the best of `linear_probe`'s on `choose`, as for the probe.
    """
    fitted = limit(train, min(len(train), _MOST_EXAMPLES))
    features, chosen, measured = (
        _pixels(source, preprocessing) for source in (fitted, choose, test)
    )
    probe = linear_probe(features, chosen, len(train.classes))
    kernel, bias = probe.head.values()
    answers = np.argmax(measured[0] @ kernel + bias, axis=1)
    side = min(_SIDE, max(preprocessing.image_size))
    return Baseline(int(np.sum(answers == measured[1])), len(answers), side, len(fitted))


def _pixels(source: Source, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of every image, float32 [n, height * width * channels] from 0 to 1, and labels."""
    height, width = preprocessing.image_size
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rows, labels = [], []
    batch_size = min(_BATCH_SIZE, len(source))
    for batch in eval_batches(source, preprocessing, batch_size=batch_size):
        for image in batch["image"][batch["mask"]]:
            bands = [Image.fromarray(band) for band in np.moveaxis(image, -1, 0)]
            small = [np.asarray(band.resize(size, Image.Resampling.BOX)) for band in bands]
            rows.append(np.stack(small, -1).ravel())
        labels.append(batch["label"][batch["mask"]])
    return np.stack(rows).astype(np.float32) / 255, np.concatenate(labels)
