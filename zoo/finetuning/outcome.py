"""Which of the two is kept: the linear probe, or the network that was trained on from it?

The trained network is its step with the lowest loss on the images that choose; of it and the probe,
the one that is more often right about them. So each is judged by one measurement: the best of many
top-1's would look better than it is, and could end below the probe.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from zoo.checkpoint import read_record
from zoo.data import Source
from zoo.evaluation import EvalResult, evaluate
from zoo.evaluation.measures import balanced_accuracy, paired_difference
from zoo.pretrained import load_pretrained

PROBE, TRAINED = "the linear probe", "the fine-tuned network"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One of the two networks.

    Attributes:
      name: `PROBE` or `TRAINED`.
      step: updates behind it.
      validation: on the images that choose.
      test: on the images that measure, which may be the same.
    """

    name: str
    step: int
    validation: EvalResult
    test: EvalResult

    def to_json(self) -> dict[str, Any]:
        """Step and measurements as JSON values."""
        return {
            "step": self.step,
            "validation": measurement(self.validation),
            "test": measurement(self.test),
        }


def measured(
    name: str, workdir: Path, step: int | Literal["best"], choose: Source, test: Source
) -> Candidate:
    """A step of a run, measured on the two splits.

    Raises:
      CheckpointError: if the run has no such step.
    """
    model, number = load_pretrained(workdir, step=step), read_record(workdir, step).step
    found = evaluate(model, choose)
    return Candidate(name, number, found, found if test is choose else evaluate(model, test))


def measurement(result: EvalResult) -> dict[str, Any]:
    """What tables tell of an evaluation."""
    names = ("top1", "top5", "loss", "n", "correct1", "correct5")
    return {
        **{name: getattr(result, name) for name in names},
        "top1_interval": list(result.top1_interval),
        "balanced_accuracy": balanced_accuracy(_labels(result), right(result)),
    }


def better(probe: Candidate, trained: Candidate | None) -> Candidate:
    """The one with the higher top-1 on the images that choose; of equals, with the lower loss."""
    if trained is None:
        return probe
    ours, theirs = trained.validation, probe.validation
    return trained if (ours.correct1, -ours.loss) > (theirs.correct1, -theirs.loss) else probe


def verdict(probe: Candidate, trained: Candidate, choose: str) -> str:
    """Both on the images that choose, their difference with its interval, and which was kept."""
    ours, theirs = trained.validation, probe.validation
    difference, low, high = paired_difference(right(ours), right(theirs))
    return (
        f"{choose} top-1 of {ours.n} images: {trained.name} {100 * ours.top1:.2f} %, {probe.name} "
        f"{100 * theirs.top1:.2f} %, difference {100 * difference:+.2f} points (95 % interval "
        f"{100 * low:+.2f} to {100 * high:+.2f}); kept is {better(probe, trained).name}"
    )


def right(result: EvalResult) -> np.ndarray:
    """Which examples were answered rightly, bool [n]."""
    if result.answers is None:
        raise ValueError("single answers are needed; use what `evaluate` returned")
    return result.answers.rank < 1


def _labels(result: EvalResult) -> np.ndarray:
    return result.answers.label if result.answers is not None else np.zeros(0, np.int32)
