"""The report of a fine-tuning run: one HTML page that needs nothing else."""

import base64
import html
import io
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.common import files
from zoo.data import Source
from zoo.data.records import example_names
from zoo.evaluation import EvalResult
from zoo.evaluation.examples import Answers
from zoo.evaluation.measures import calibration_bins, per_class_counts
from zoo.finetuning.charts import line_chart, reliability_diagram
from zoo.training import TrainConfig, read_metrics

MISTAKES_SHOWN, _LARGEST_MATRIX, _CONFUSIONS_SHOWN = 12, 40, 40
_PICTURE_SIDE = 128
_PAGE = string.Template("""<!doctype html><html lang="en"><meta charset="utf-8">
<title>$title</title>
<style>body{font:16px/1.5 sans-serif;max-width:56em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.5em 0}td,th{padding:.15em .6em;text-align:right}
th{font-weight:600}tr>:first-child{text-align:left}svg{color:#1f6feb;fill:#1f6feb;font-size:12px}
svg text{fill:#444}figure{display:inline-block;margin:.4em;text-align:center;font-size:13px}
figure img{image-rendering:pixelated;width:${side}px;height:${side}px;object-fit:contain}
pre{background:#f4f4f4;padding:.7em;overflow-x:auto}.wide{overflow-x:auto}</style>
<h1>$title</h1><p>$summary</p>$warnings
<h2>Curves</h2>$curves
<h2>Confusion matrix</h2>$confusion
<h2>Worst mistakes</h2>$mistakes
<h2>Classes</h2>$classes
<h2>Calibration</h2>$calibration
<h2>What was kept</h2><p>$kept</p>
<h2>Use it</h2><pre>$commands</pre></html>
""")


def write_report(
    path: Path, result: dict[str, Any], measured: EvalResult, source: Source, config: TrainConfig
) -> None:
    """Writes the page.

    Args:
      path: of the page.
      result: `FinetuneResult.to_json()`.
      measured: of the best network, with its answers.
      source: the examples that were measured.
      config: of the run.
    """
    classes, answers = result["classes"], measured.answers
    if answers is None:
        raise ValueError("the report shows single images; use what `evaluate` returned")
    matrix = confusion_matrix(answers.label, answers.predicted, len(classes))
    page = _PAGE.substitute(
        title=html.escape(f"{result['model']} on {config.data.name}"),
        side=_PICTURE_SIDE,
        summary=_summary(result, measured),
        warnings="".join(f"<p>⚠ {html.escape(text)}</p>" for text in result["warnings"]),
        curves=_curves(path.parent, result),
        confusion=_confusion(matrix, classes),
        mistakes=_mistakes(answers, source, classes),
        classes=_classes(answers, classes),
        calibration=_calibration(answers, measured.calibration_error),
        kept=(
            f"{result['kept']} parameters began as the pretrained ones, "
            f"{html.escape(', '.join(result['new']))} as the linear probe. Trained from there: "
            f"<code>{html.escape(config.trainable)}</code>, learning rate "
            f"{config.optimizer.learning_rate:g}, layer decay {config.optimizer.layer_decay:g}, "
            f"{result['steps_made']} of at most {config.steps} steps."
        ),
        commands=html.escape("\n".join(result["commands"])),
    )
    files.write(path, page)


def confusion_matrix(label: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """[true class, predicted class] -> number of examples, int64."""
    counts = np.bincount(label.astype(np.int64) * classes + predicted, minlength=classes**2)
    return counts.reshape(classes, classes)


def _summary(result: dict[str, Any], measured: EvalResult) -> str:
    splits, low_high = result["splits"], measured.top1_interval
    chosen = result["validation"]
    same = splits["choose"] == splits["measure"]
    warning = " The same images chose the step, so it is a little too good." if same else ""
    return (
        f"Top-1 <b>{100 * measured.top1:.3f} %</b>: {measured.correct1} of {measured.n} images of "
        f"{html.escape(measured.data)} {splits['measure']} (95 % interval "
        f"{100 * low_high[0]:.1f} to {100 * low_high[1]:.1f} %).{warning} Step {result['step']} "
        f"has the lowest loss on {splits['choose']}, {chosen['loss']:.3f}, and top-1 "
        f"{100 * chosen['top1']:.2f} % of {chosen['n']:.0f} images; step 0 is the linear probe."
    )


def _curves(workdir: Path, result: dict[str, Any]) -> str:
    lines = read_metrics(workdir)
    losses = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    measured = [(line["step"], line["eval"]) for line in lines if "eval" in line]
    if not losses:
        return "<p>The head alone was solved; there are no steps.</p>"
    split = result["splits"]["choose"]
    return (
        line_chart(losses, x="step", y="training loss")
        + line_chart([(s, m["loss"]) for s, m in measured], x="step", y=f"loss on {split}")
        + line_chart([(s, m["top1"]) for s, m in measured], x="step", y=f"top-1 on {split}", top=1)
    )


def _confusion(matrix: np.ndarray, classes: Sequence[str]) -> str:
    if len(classes) > _LARGEST_MATRIX:
        wrong = matrix * (1 - np.eye(len(classes), dtype=np.int64))
        order = np.argsort(-wrong.ravel(), kind="stable")[:_CONFUSIONS_SHOWN]
        pairs = [divmod(int(k), len(classes)) for k in order if wrong.ravel()[k]]
        rows = [(classes[t], classes[p], wrong[t, p]) for t, p in pairs]
        return _table("confusions", ("true", "predicted", "images"), rows)
    largest = max(1, int(matrix.sum(1).max()))
    rows = []
    for name, row in zip(classes, matrix, strict=True):
        cells = "".join(
            f'<td style="background:rgba(31,111,235,{count / largest:.2f})">{count}</td>'
            for count in row
        )
        rows.append(f"<tr><th>{html.escape(name)}</th>{cells}</tr>")
    head = "".join(f"<th>{html.escape(name)}</th>" for name in classes)
    return (
        '<p>Rows: true class; columns: predicted.</p><div class="wide"><table id="confusion">'
        f"<tr><th></th>{head}</tr>{''.join(rows)}</table></div>"
    )


def _mistakes(answers: Answers, source: Source, classes: Sequence[str]) -> str:
    names = example_names(source)
    wrong = np.flatnonzero(answers.rank > 0)
    worst = wrong[np.argsort(-answers.loss[wrong], kind="stable")][:MISTAKES_SHOWN]
    if not len(worst):
        return "<p>None.</p>"
    figures = "".join(
        f'<figure><img alt="" src="{_picture(source[int(i)].image)}"><figcaption>'
        f"{html.escape(names[i])}<br>is {html.escape(classes[answers.label[i]])}, taken for "
        f"{html.escape(classes[answers.predicted[i]])} ({100 * answers.confidence[i]:.1f} %)"
        "</figcaption></figure>"
        for i in worst
    )
    return f"<p>{len(wrong)} mistakes; those with the largest loss first.</p>{figures}"


def _picture(image: np.ndarray) -> str:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((2 * _PICTURE_SIDE, 2 * _PICTURE_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _classes(answers: Answers, classes: Sequence[str]) -> str:
    right, n = per_class_counts(answers.label, answers.rank < 1, len(classes))
    rows = [
        (name, k, c, f"{100 * c / k:.1f} %" if k else "-")
        for name, c, k in zip(classes, right, n, strict=True)
    ]
    return _table("classes", ("class", "images", "right", "top-1"), rows)


def _calibration(answers: Answers, error: float) -> str:
    bins = calibration_bins(answers.confidence, answers.rank < 1)
    return (
        "<p>Expected calibration error <b id='ece'>"
        f"{error:.4f}</b>. Bars above the dashed line: more often right than "
        f"the network says; below: less often.</p>{reliability_diagram(bins)}"
    )


def _table(id: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    titles = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<div class="wide"><table id="{id}"><tr>{titles}</tr>{body}</table></div>'
