"""The report of a fine-tuning run: what was kept, against what, and what it gets wrong."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zoo.common import files
from zoo.common.words import percent, plural
from zoo.data import Source, TrainPipeline
from zoo.data.sources import source_labels
from zoo.evaluation.measures import paired_difference
from zoo.finetuning.answers import by_class, calibration, confusions, mistakes
from zoo.finetuning.outcome import measurement, right
from zoo.finetuning.result import FinetuneResult
from zoo.report import Section, page, picture, table
from zoo.report.answer_charts import curves
from zoo.training import TrainConfig, read_metrics

_SAMPLES_SHOWN = 6


class Shown(NamedTuple):
    """What the page is made of: the result, its plan, and images of the two splits.

    Attributes:
      result: of the run.
      config: its plan.
      trained: examples that were trained on.
      measured: examples that were measured, in the order of `result.best.test.answers`.
    """

    result: FinetuneResult
    config: TrainConfig
    trained: Source
    measured: Source


def write_report(path: Path, shown: Shown) -> None:
    """Writes the page."""
    result, config = shown.result, shown.config
    classes, answers = result.model.classes, result.best.test.answers
    if answers is None:
        raise ValueError("the report shows single images; use what `evaluate` returned")
    trained = np.bincount(source_labels(shown.trained), minlength=len(classes))
    warnings = "".join(f'<p class="warning">{html.escape(text)}</p>' for text in result.warnings)
    sections = (
        Section("", "", _comparison(result) + warnings),
        _seen(shown),
        Section("Curves", "", _curves(path.parent, result, config)),
        confusions(result, answers),
        mistakes(answers, shown.measured, config.preprocessing, classes),
        Section("Classes", "", by_class(answers, trained, classes)),
        calibration(result.best.test, answers),
        Section("How it was made", "", _made(shown)),
        Section("Use it", "", f"<pre>{html.escape(chr(10).join(result.commands))}</pre>"),
    )
    title = f"{result.weight['name']} on {config.data.name}"
    files.write(path, page(title, sections, _summary(result)))


def _summary(result: FinetuneResult) -> str:
    measured, splits = result.best.test, result.splits
    low, high = measured.top1_interval
    same = " The same images chose the step, so it is a little too good."
    return (
        f"Kept is {result.best.name}, step {result.step}: {measured.correct1} right of all "
        f"{plural(measured.n, 'image')} of {measured.data} {splits.measure}, top-1 "
        f"{percent(measured.top1)} (95 % interval {100 * low:.1f} to {percent(high, 1)})."
        + (same if splits.choose == splits.measure else "")
    )


def _comparison(result: FinetuneResult) -> str:
    """The kept network beside the other one, the pixels alone, and the largest class."""
    answers, base = result.best.test.answers, result.baseline
    largest = int(np.bincount(answers.label).max()) if answers is not None else 0
    n, chosen = base.n, result.splits.choose
    rows = [
        ("always the largest class", percent(largest / n), "", f"{largest} / {n}", "", "", ""),
        (
            f"logistic regression on {base.side}-pixel pictures", percent(base.correct1 / n),
            _interval(base.to_json()["interval"]), f"{base.correct1} / {n}", "", "", "",
        ),
    ]  # fmt: skip
    networks = [result.probe, *([result.trained] if result.trained else [])]
    for one in networks:
        test = measurement(one.test)
        rows.append(
            (
                one.name, percent(test["top1"]), _interval(test["top1_interval"]),
                f"{test['correct1']} / {test['n']}", percent(test["balanced_accuracy"]),
                f"{test['loss']:.3f}", percent(one.validation.top1),
            )
        )  # fmt: skip
    measure = result.splits.measure
    head = (
        "", f"top-1 on {measure}", "95 % interval", "right / images", "balanced accuracy", "loss",
        f"top-1 on {chosen}",
    )  # fmt: skip
    kept = 2 + networks.index(result.best)
    return table(head, rows, id="comparison", kept=kept) + _differences(result)


def _interval(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.1f} to {percent(ends[1], 1)}"


def _differences(result: FinetuneResult) -> str:
    """By how much the trained network differs from the probe on the same images."""
    if result.trained is None:
        return ""
    parts = []
    for split, ours, theirs in (
        (result.splits.choose, result.trained.validation, result.probe.validation),
        (result.splits.measure, result.trained.test, result.probe.test),
    ):
        difference, low, high = (100 * x for x in paired_difference(right(ours), right(theirs)))
        parts.append(
            f"{difference:+.2f} points on {split} (95 % interval {low:+.2f} to {high:+.2f})"
        )
    parts = list(dict.fromkeys(parts))
    return (
        f"<p>{html.escape(result.trained.name.capitalize())} against {result.probe.name}: "
        f"{html.escape(', '.join(parts))}. The better on {html.escape(result.splits.choose)} is "
        "kept.</p>"
    )


def _seen(shown: Shown) -> Section:
    config = shown.config
    height, width = config.preprocessing.image_size
    count = min(_SAMPLES_SHOWN, len(shown.trained))
    pipeline = TrainPipeline(
        shown.trained, config.preprocessing, config.augmentation, batch_size=count, seed=config.seed
    )
    batch, classes = pipeline.batch(0), shown.result.model.classes
    figures = "".join(
        picture(image, classes[label])
        for image, label in zip(batch["image"], batch["label"], strict=True)
    )
    kind = "grey" if config.preprocessing.channels == 1 else "colour"
    return Section(
        "What the network saw",
        f"Training images as the network took them, {height} x {width} pixels in {kind}: "
        f"{_changes(config)}.",
        figures,
    )


def _changes(config: TrainConfig) -> str:
    changes = config.augmentation
    said = [
        "half of them mirrored" if changes.flip else "",
        f"shifted by up to {changes.crop_padding} pixels" if changes.crop_padding else "",
        f"cut out of {100 * changes.random_resized_crop[0]:g} % of the area or more"
        if changes.random_resized_crop
        else "",
    ]
    return ", ".join(text for text in said if text) or "not changed at random"


def _curves(workdir: Path, result: FinetuneResult, config: TrainConfig) -> str:
    lines = read_metrics(workdir)
    losses = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    measured = [(line["step"], line["eval"]) for line in lines if "eval" in line]
    if not losses:
        return "<p>The head alone was solved; there are no steps.</p>"
    return curves(
        losses,
        [(step, found["loss"]) for step, found in measured],
        [(step, found["top1"]) for step, found in measured],
        split=result.splits.choose,
        kept=result.step,
        smoothing=config.regularization.label_smoothing,
    )


def _made(shown: Shown) -> str:
    result, config = shown.result, shown.config
    optimizer, weight = config.optimizer, result.weight
    rows = [
        ("pretrained weight", f"{weight['name']}, sha256 {weight['sha256'][:16]}"),
        ("its data", weight.get("data_terms") or "terms not stated"),
        ("this data", f"{config.data.name}; {result.data_terms or 'terms not stated'}"),
        ("trained on", plural(len(shown.trained), "image")),
        ("started from", f"{len(result.kept)} pretrained parameters, the head as linear probe"),
    ]
    if result.steps_made:
        rows += [
            ("trained layers", result.layers),
            ("steps", f"{result.steps_made} of at most {config.steps}"),
            ("images a step", str(config.data.batch_size)),
            ("optimiser", f"{optimizer.name}, learning rate {optimizer.learning_rate:g}"),
            ("weight decay", f"{optimizer.weight_decay:g}"),
            ("layer decay", f"{optimizer.layer_decay:g}"),
        ]
    if config.regularization.class_weights:
        rows.append(("class weights", "balanced: every class counts alike"))
    if config.ema_decay is not None:
        rows.append(("averaged weights", f"decay {config.ema_decay:g}"))
    return table(("", ""), rows, id="made")
