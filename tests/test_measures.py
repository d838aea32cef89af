"""Measures against published numbers, closed forms and plain loops."""

import json
import math

import numpy as np
import pytest

from zoo.evaluation.examples import append_row
from zoo.evaluation.measures import (
    balanced_accuracy,
    expected_calibration_error,
    paired_difference,
    per_class_counts,
    real_counts,
    wilson_interval,
)


def stored(data_root, network):
    """First answers of a published model to the 50,000 validation images, and their labels."""
    folder = data_root / "imagenet-labels"
    best = np.load(folder / "val_top5_predictions.npz")[network].astype(np.int64)
    return best[:, 0], np.loadtxt(folder / "val_labels.txt", dtype=np.int64)


@pytest.mark.parametrize(("network", "real"), [("resnet50", 0.82958), ("alexnet", 0.63061)])
def test_real_accuracy_of_stored_predictions_is_the_published_one(data_root, network, real):
    predicted, _ = stored(data_root, network)
    valid = json.loads((data_root / "imagenet-labels" / "real.json").read_text())
    correct, n = real_counts(predicted, valid)
    assert n == 50000 - 3163
    assert correct / n == pytest.approx(real, abs=5e-6)  # published with five digits


@pytest.mark.parametrize(("network", "correct1"), [("resnet50", 38065), ("alexnet", 28259)])
def test_class_counts_of_stored_predictions_add_up_to_the_published_ones(
    data_root, network, correct1
):
    predicted, labels = stored(data_root, network)
    right, n = per_class_counts(labels, predicted == labels, 1000)
    assert right.sum() == correct1 and np.all(n == 50)
    assert right[7] == np.sum((predicted == 7) & (labels == 7))


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_those_of_newcombe(correct, n, low, high):
    assert wilson_interval(correct, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_reaches_the_ends_exactly():
    assert wilson_interval(0, 125)[0] == 0 and wilson_interval(125, 125)[1] == 1


def test_wilson_interval_ends_where_the_score_test_does():
    low, high = wilson_interval(38065, 50000)
    for p in (low, high):
        assert abs(0.7613 - p) / math.sqrt(p * (1 - p) / 50000) == pytest.approx(1.959964, abs=1e-5)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (0, 0), (1, 2, 1.0)])
def test_counts_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match="needed are 0 <= correct <= n"):
        wilson_interval(*arguments)


def test_calibration_error_is_that_of_a_plain_loop():
    generator = np.random.default_rng(4)
    confidence = generator.random(1000)
    confidence[:3] = 0, 1, 1 / 15
    correct = generator.random(1000) < confidence**2
    expected = 0.0
    for k in range(15):
        chosen = (confidence > k / 15) & (confidence <= (k + 1) / 15) | (k == 0) & (confidence == 0)
        if chosen.any():
            expected += chosen.mean() * abs(correct[chosen].mean() - confidence[chosen].mean())
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-12)


def test_of_sure_and_right_answers_the_calibration_error_is_zero():
    assert expected_calibration_error(np.ones(7), np.ones(7, bool)) == 0
    assert expected_calibration_error(np.ones(8), np.arange(8) < 2) == pytest.approx(0.75)


def test_rows_are_appended_to_a_table_of_the_same_columns(tmp_path):
    path = tmp_path / "rows.csv"
    append_row(path, {"model": "a,b", "top1": 0.5})
    append_row(path, {"model": "c", "top1": 0.25})
    assert path.read_text().splitlines() == ["model,top1", '"a,b",0.5', "c,0.25"]
    with pytest.raises(ValueError, match="has other columns"):
        append_row(path, {"model": "d", "top5": 1})
    with pytest.raises(ValueError, match="cannot be written"):
        append_row(tmp_path / "absent" / "rows.csv", {"model": "d"})


def test_balanced_accuracy_counts_every_class_alike():
    labels = np.array([0] * 90 + [2] * 10)  # class 1 has no examples
    assert balanced_accuracy(labels, labels == 0) == 0.5
    assert balanced_accuracy(labels, np.arange(100) % 2 == 0) == pytest.approx(0.5)


def test_the_interval_of_a_difference_covers_it_nineteen_times_of_twenty():
    generator, n, draws = np.random.default_rng(0), 120, 4000
    shares = [0.5, 0.2, 0.1, 0.2]  # both right, only ours, only theirs, none
    outcomes = generator.choice(4, (draws, n), p=shares)
    found = [paired_difference(row < 2, np.isin(row, (0, 2))) for row in outcomes]
    ours, theirs = 0.7, 0.6
    covered = np.mean([low <= ours - theirs <= high for _, low, high in found])
    assert abs(covered - 0.95) < 0.0138  # four standard errors of 4,000 draws
    assert np.mean([d for d, *_ in found]) == pytest.approx(0.1, abs=4 * 0.055 / draws**0.5)


def test_equal_answers_still_have_an_interval():
    right = np.ones(50, bool)
    difference, low, high = paired_difference(right, right)
    assert difference == 0 and -0.1 < low < 0 < high < 0.1
