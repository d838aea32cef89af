"""May this model answer for this data? Trained, preprocessed alike, and of the same classes."""

import logging

import numpy as np

from zoo.classifier import Classifier
from zoo.data import Source

_log = logging.getLogger("zoo.evaluation")


class ClassMismatchError(ValueError):
    """The classes of the data are not the classes of the model."""


def require_trained(model: Classifier) -> None:
    """Refuses a model whose answers mean nothing.

    Raises:
      ValueError: if its head was replaced and not trained.
    """
    report = model.provenance.report
    if report is not None and report.new and not model.classes:
        raise ValueError(
            f"the head of {report.source} was replaced and is not trained; train it and give "
            "dataclasses.replace(model, classes=...), or use zoo finetune"
        )


def match_classes(model: Classifier, source: Source) -> np.ndarray | None:
    """Label of the source -> index of the logit, by class names; None where they are the same.

    Raises:
      ClassMismatchError: if names or numbers of classes differ.
    """
    ours, theirs = tuple(model.classes), tuple(source.classes)
    if len(theirs) != model.num_classes:
        raise ClassMismatchError(
            f"{source.name} has {len(theirs)} classes, the model {model.num_classes}; "
            "evaluate on the model's own classes or fine-tune it on these"
        )
    if not ours or ours == theirs:
        return None
    missing = [name for name in theirs if name not in ours]
    if missing or len(set(ours)) < len(ours):
        raise ClassMismatchError(
            f"{source.name} names classes that the model does not tell apart: "
            f"{', '.join(missing[:5]) or 'a name is used twice'}; fine-tune the model on this data"
        )
    _log.warning(
        "classes of %s are in another order than the model's; matched by name", source.name
    )
    return np.asarray([ours.index(name) for name in theirs], np.int32)


def allowed_logits(source: Source, labels: np.ndarray | None) -> np.ndarray | None:
    """Indices of the logits that answers may be chosen from; None for all.

    Args:
      source: whose `allowed` counts, if it has one.
      labels: what `match_classes` returned.
    """
    allowed = getattr(source, "allowed", None)
    if allowed is None:
        return None
    chosen = np.asarray(allowed, np.int32)
    return chosen if labels is None else labels[chosen]


def right_logits(source: Source, labels: np.ndarray | None) -> list[list[int]] | None:
    """All right answers of each example as indices of the logits; None where not known.

    Args:
      source: whose `real` counts, if it has one.
      labels: what `match_classes` returned.
    """
    real = getattr(source, "real", None)
    if real is None or labels is None:
        return real
    return [labels[np.asarray(valid, np.int64)].tolist() for valid in real]
