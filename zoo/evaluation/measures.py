"""Measures of answers that are already there: numbers in, numbers out, exact and in float64."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

CALIBRATION_BINS = 15
_PAIRS = 10


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a fraction.

      (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n),  p = correct / n

    Unlike p -+ z sqrt(p (1 - p) / n) it stays inside [0, 1] and has a width at p = 0 and 1.

    Args:
      correct: number of successes, 0 to n.
      n: number of trials, 1 or more.
      confidence: of the interval, in (0, 1).

    Raises:
      ValueError: if an argument is out of range.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not (0 <= correct <= n and n >= 1 and 0 < confidence < 1):
        raise ValueError(
            f"correct={correct}, n={n}, confidence={confidence}; needed are 0 <= correct <= n, "
            "n >= 1 and 0 < confidence < 1"
        )
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    p, shrink = correct / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / shrink
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / shrink
    # At the ends the bound is exact; the difference would leave a rounding error.
    return 0.0 if correct == 0 else centre - half, 1.0 if correct == n else centre + half


def real_counts(predicted: np.ndarray, valid: Sequence[Sequence[int]]) -> tuple[int, int]:
    """(correct, n) where any of several labels is right; examples without labels are left out.

    Args:
      predicted: [examples] integers, the first answer of each.
      valid: the right labels of each example.

    Raises:
      ValueError: if the lengths differ.

    Source: Beyer et al. 2020, "Are we done with ImageNet?"; arXiv 2006.07159.
    """
    pairs = list(zip(np.asarray(predicted).tolist(), valid, strict=True))
    return sum(p in labels for p, labels in pairs), sum(bool(labels) for _, labels in pairs)


def per_class_counts(
    labels: np.ndarray, correct: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """(correct, n) of every class, int64 [classes] each; a class without examples has n = 0.

    Args:
      labels: [examples] integers below `classes`.
      correct: [examples] bool.
      classes: number of classes.
    """
    right = np.bincount(labels[correct], minlength=classes)
    return right.astype(np.int64), np.bincount(labels, minlength=classes).astype(np.int64)


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """[true class, predicted class] -> number of examples, int64."""
    counts = np.bincount(label.astype(np.int64) * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def confused_pairs(matrix: np.ndarray) -> list[tuple[int, int, int]]:
    """(true class, predicted class, examples) of the most frequent mistakes, most first."""
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    order = np.argsort(-wrong.ravel(), kind="stable")[:_PAIRS]
    pairs = [divmod(int(place), len(matrix)) for place in order]
    return [(true, said, int(wrong[true, said])) for true, said in pairs if wrong[true, said]]


def balanced_accuracy(labels: np.ndarray, correct: np.ndarray) -> float:
    """Mean accuracy of the classes that have examples: every class counts alike.

    Args:
      labels: [examples] integers.
      correct: [examples] bool.
    """
    right, n = per_class_counts(labels, correct, int(labels.max()) + 1)
    return float(np.mean(right[n > 0] / n[n > 0]))


def paired_difference(
    ours: np.ndarray, theirs: np.ndarray, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Difference of two accuracies on the same examples, and the ends of its interval.

      d = (a - b) / n; interval p - q -+ z sqrt((p + q - (p - q)^2) / (n + 2)),
      p = (a + 1) / (n + 2), q = (b + 1) / (n + 2), with a examples that only the first has right
      and b that only the second has

    Args:
      ours, theirs: [examples] bool, which are right.
      confidence: of the interval, in (0, 1).

    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial
    proportions based on paired data".
    """
    n = len(ours)
    only_ours, only_theirs = np.count_nonzero(ours & ~theirs), np.count_nonzero(theirs & ~ours)
    p, q = (only_ours + 1) / (n + 2), (only_theirs + 1) / (n + 2)
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    half = z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return (only_ours - only_theirs) / n, max(-1.0, p - q - half), min(1.0, p - q + half)


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = CALIBRATION_BINS
) -> float:
    """Mean distance between confidence and accuracy, over bins of equal width.

      sum_b |sum_{i in b} (correct_i - confidence_i)| / n,  bin b = ((b - 1) / bins, b / bins]

    Args:
      confidence: [examples], probability of the first answer, in [0, 1].
      correct: [examples] bool.
      bins: how many.

    Source: Naeini et al. 2015, "Obtaining well calibrated probabilities using Bayesian binning".
    """
    filled = calibration_bins(confidence, correct, bins)
    return math.fsum(n * abs(right - mean) for mean, right, n in filled) / len(confidence)


def calibration_bins(
    confidence: np.ndarray, correct: np.ndarray, bins: int = CALIBRATION_BINS
) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, examples) of every bin of equal width that has examples.

    Args:
      confidence: [examples], probability of the first answer, in [0, 1].
      correct: [examples] bool.
      bins: how many; bin b is ((b - 1) / bins, b / bins].
    """
    confidence = np.asarray(confidence, np.float64)
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    members = [np.flatnonzero(places == b) for b in np.unique(places)]
    return [(float(confidence[m].mean()), float(correct[m].mean()), len(m)) for m in members]
