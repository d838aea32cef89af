"""What the report says about single answers: confusions, mistakes, classes, calibration."""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.common.words import plural
from zoo.data import Preprocessing, Source
from zoo.data.eval_pipeline import read_example
from zoo.data.records import example_names
from zoo.evaluation import EvalResult
from zoo.evaluation.examples import Answers
from zoo.evaluation.measures import calibration_bins, confusion_matrix, per_class_counts
from zoo.finetuning.result import FinetuneResult
from zoo.report import Section, picture, table
from zoo.report.answer_charts import confusion_chart, reliability_diagram

MISTAKES_SHOWN = 12
# Characters that a table may be wide before it becomes a chart, and those around a name.
_WIDEST_TABLE, _CELL = 90, 2


def confusions(result: FinetuneResult, answers: Answers) -> Section:
    """The confusion matrix, as a table or, of many classes, a picture; and the pairs."""
    classes = result.model.classes
    matrix = confusion_matrix(answers.label, answers.predicted, len(classes))
    fits = sum(len(name) + _CELL for name in classes) <= _WIDEST_TABLE
    whole = _shaded if fits else confusion_chart
    most = table(("true", "taken for", "images", "of"), result.confused, id="pairs")
    return Section(
        "Confusion matrix",
        "Rows: true class; columns: predicted.",
        whole(matrix, classes) + (f"<h3>Most confused</h3>{most}" if result.confused else ""),
    )


def mistakes(
    answers: Answers, source: Source, preprocessing: Preprocessing, classes: Sequence[str]
) -> Section:
    """The mistakes with the largest loss, as the network saw them."""
    names = example_names(source)
    wrong = np.flatnonzero(answers.rank > 0)
    worst = wrong[np.argsort(-answers.loss[wrong], kind="stable")][:MISTAKES_SHOWN]
    if not len(worst):
        return Section("Worst mistakes", "None.")
    figures = "".join(
        picture(
            preprocessing.transform(read_example(source, int(i), preprocessing).image),
            f"{names[i]}\nis {classes[answers.label[i]]}, taken for "
            f"{classes[answers.predicted[i]]} ({100 * answers.confidence[i]:.1f} %)",
        )
        for i in worst
    )
    count = plural(len(wrong), "mistake")
    said = f"{count}, as the network saw them; those with the largest loss first."
    return Section("Worst mistakes", said, figures)


def by_class(answers: Answers, trained: np.ndarray, classes: Sequence[str]) -> str:
    """Accuracy of every class, and how many images of it were trained on."""
    right, n = per_class_counts(answers.label, answers.rank < 1, len(classes))
    rows = [
        (name, k, c, f"{100 * c / k:.1f} %" if k else "-", int(t))
        for name, c, k, t in zip(classes, right, n, trained, strict=True)
    ]
    return table(("class", "images", "right", "top-1", "trained on"), rows, id="classes")


def calibration(measured: EvalResult, answers: Answers) -> Section:
    """Whether the network is as often right as it says."""
    bins = calibration_bins(answers.confidence, answers.rank < 1)
    error = f'<p>Expected calibration error <b id="ece">{measured.calibration_error:.4f}</b>.</p>'
    return Section(
        "Calibration",
        "Bars above the dashed line: more often right than the network says; below: less often.",
        error + reliability_diagram(bins),
    )


def _shaded(matrix: np.ndarray, classes: Sequence[str]) -> str:
    largest = max(1, int(matrix.sum(1).max()))
    rows: list[Any] = []
    for name, row in zip(classes, matrix, strict=True):
        cells = "".join(
            f'<td style="background:rgba(31,111,235,{0.75 * count / largest:.2f})">{count}</td>'
            for count in row
        )
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    head = "".join(f"<th>{html.escape(name)}</th>" for name in classes)
    return (
        f'<div class="wide"><table id="confusion"><tr><th></th>{head}</tr>{"".join(rows)}'
        "</table></div>"
    )
