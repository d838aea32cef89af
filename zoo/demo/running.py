"""The whole job on one published weight: load, evaluate, fine-tune, predict; what came of it."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.classifier import Classifier
from zoo.data import Record, open_source
from zoo.demo import WEIGHT
from zoo.evaluation import EvalResult, evaluate, predict
from zoo.evaluation.examples import Answers
from zoo.finetuning import FinetuneResult, finetune
from zoo.pretrained import load_pretrained

_CLASSES, _PICTURES = 4, 12


@dataclasses.dataclass(frozen=True)
class Shown:
    """What the demo did.

    Attributes:
      model: the published network.
      published: its evaluation on the whole test split.
      classes: those it takes for one another most often, on which it was fine-tuned.
      tuned: that fine-tuning.
      pictures: some test images with their labels.
      predictions: what `zoo.predict` answered to the files of these.
    """

    model: Classifier
    published: EvalResult
    classes: tuple[str, ...]
    tuned: FinetuneResult
    pictures: list[Record]
    predictions: list[dict[str, Any]]

    @property
    def labels(self) -> list[str]:
        """The right class of every picture."""
        return [self.model.classes[record.label] for record in self.pictures]

    @property
    def right(self) -> int:
        """How many predictions are right."""
        pairs = zip(self.predictions, self.labels, strict=True)
        return sum(answer["class"] == label for answer, label in pairs)


def run(folder: Path, steps: int, data_dir: str | None = None) -> Shown:
    """Does it all below `folder`.

    Args:
      folder: of the fine-tuning run and the pictures; what an earlier demo left there is replaced.
      steps: of fine-tuning, at most.
      data_dir: where the data set's files are, for data that is not built in.
    """
    model = load_pretrained(WEIGHT)
    assert model.manifest is not None
    name = model.manifest.recipe["config"]["data"]["name"]
    source = open_source(name, "test", data_dir=data_dir)
    published = evaluate(model, source, progress=True)
    assert published.answers is not None
    classes = most_confused(published.answers, model.classes, _CLASSES)
    workdir = folder / "finetuned"
    shutil.rmtree(workdir, ignore_errors=True)
    tuned = finetune(model, name, classes=classes, workdir=workdir, steps=steps, data_dir=data_dir)
    pictures = [source[index] for index in range(_PICTURES)]
    files = _write(pictures, folder / "images")
    return Shown(model, published, classes, tuned, pictures, predict(model, files))


def most_confused(answers: Answers, classes: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The `count` classes that most mistakes involve, in the order of `classes`."""
    wrong = answers.rank > 0
    involved = np.concatenate([answers.label[wrong], answers.predicted[wrong]])
    mistakes = np.bincount(involved, minlength=len(classes))
    chosen = np.sort(np.argsort(-mistakes, kind="stable")[:count])
    return tuple(classes[index] for index in chosen)


def _write(pictures: list[Record], folder: Path) -> list[Path]:
    """Images as files, as a user would have them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = [folder / f"{number:02d}.png" for number in range(len(pictures))]
    for file, (image, _) in zip(files, pictures, strict=True):
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file)
    return files
