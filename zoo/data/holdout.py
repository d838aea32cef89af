"""Two parts of a training split: what is trained on, and what choices are made by."""

import numpy as np

from zoo.data.records import Source, SourceView, source_labels

# A fifth of every class is held out, and no more of it than tell accuracies apart.
_HELD_OUT_EVERY, _HELD_OUT_MOST = 5, 100


def holdout(source: Source) -> SourceView:
    """A part of a training split that is not trained on, so that choices can be made by it.

    Of a class with n examples round(n / 5), at least 1 and at most 100, evenly spread over the
    source's order; of a class with a single one, none. Nothing is random.

    Raises:
      ValueError: if no class has two examples.
    """
    chosen = np.flatnonzero(_held_out(source))
    return SourceView(source, source.name, chosen, source.classes, split="holdout")


def remainder(source: Source) -> SourceView:
    """What `holdout` leaves: every example is in one of the two."""
    chosen = np.flatnonzero(~_held_out(source))
    return SourceView(source, source.name, chosen, source.classes, split="remainder")


def _held_out(source: Source) -> np.ndarray:
    labels = source_labels(source)
    held = np.zeros(len(labels), bool)
    for label in range(len(source.classes)):
        members = np.flatnonzero(labels == label)
        n = len(members)
        if n < 2:
            continue  # it is trained on, or not there
        count = min(max(1, round(n / _HELD_OUT_EVERY)), _HELD_OUT_MOST)
        held[members[(2 * np.arange(count) + 1) * n // (2 * count)]] = True
    if not held.any():
        raise ValueError(
            f"{source.name} {source.split} has no class with two examples, so none can be held "
            "out; add examples, or give the data a val split"
        )
    return held
