"""`zoo eval` and `zoo predict`: what networks answer."""

import sys
from pathlib import Path
from typing import Any

from zoo.cli import commands
from zoo.cli.text import Output, fields
from zoo.common.console import Working


def _image_files(given: tuple[str, ...]) -> list[str]:
    """The files that were given, and the images below the folders that were.

    Raises:
      ValueError: nothing was given, or something is not there; before any model is loaded.
    """
    from zoo.data.image_folder import image_files

    if not given:
        raise ValueError("zoo predict needs image files, or a folder of them, behind the model")
    files: list[str] = []
    for path in map(Path, given):
        if path.is_dir():
            found, _ = image_files(path)
            if not found:
                raise ValueError(f"{path} holds no images; give a folder that does, or files")
            files += map(str, found)
        elif path.exists():
            files.append(str(path))
        else:
            raise ValueError(f"{path}: there is no such file; give image files or folders")
    return files


def _load(command: commands.Eval | commands.Predict) -> Any:
    from zoo.pretrained import load_pretrained

    step = _step(command.step)
    with Working(f"loading {command.model}"):
        return load_pretrained(str(command.model), step=step, image_size=command.image_size)


def evaluate(command: commands.Eval) -> Output:
    """Accuracy on a split, of one model or of many."""
    from zoo.data import open_source, subset
    from zoo.data.checking import without_unreadable

    if (command.model is None) == (command.models is None):
        raise ValueError("give one model, or --models PATTERN for all published ones that match")
    source = open_source(command.data, command.split, data_dir=command.data_dir)
    left_out: tuple[str, ...] = ()
    if command.bad_examples == "skip":
        source, left_out = without_unreadable(source)
    source = subset(source, command.classes) if command.classes else source
    if command.models is None:
        return _evaluate_one(command, source, left_out)
    return _evaluate_matching(command, command.models, source)


def _evaluate_one(command: commands.Eval, source: Any, left_out: tuple[str, ...]) -> Output:
    from zoo.evaluation import evaluate_within_memory
    from zoo.processes.agreement import by_first

    model = _load(command)
    _warn_of_seen(command)
    result = evaluate_within_memory(
        model,
        source,
        batch_size=command.batch_size,
        precision=command.precision,
        keep_logits=command.logits is not None,
        progress=True,
    )
    classes = model.classes or source.classes
    by_first(lambda: _write_evaluation(command, result, classes, source))
    value = {"model": command.model, **result.to_json()}
    if left_out:
        value["left_out"] = list(left_out)
    low, high = result.top1_interval
    real = "" if result.real_top1 is None else f"ReaL {100 * result.real_top1:.3f} %   "
    lines = [
        f"top-1 {100 * result.top1:.3f} % +- {100 * result.standard_error:.3f}   "
        f"top-5 {100 * result.top5:.3f} %   loss {result.loss:.5f}",
        f"{real}95 % interval of top-1 {100 * low:.3f} to {100 * high:.3f} %   "
        f"calibration error {result.calibration_error:.4f}",
        f"{result.correct1} right of all {result.n} examples of {result.data} {result.split}",
        f"{result.device}, precision {result.precision}, {fields(result.preprocess)}",
    ]
    return Output(value, [*lines, *_left_out_lines(left_out)])


def _warn_of_seen(command: commands.Eval) -> None:
    """Says so where a run is asked about pictures that it was trained on."""
    from zoo.data.own_pictures import is_own, same_own, splits_of_own
    from zoo.pretrained.runs import trained_on

    data = trained_on(command.model or "")
    if data is None or command.split not in ("train", "val", "test"):
        return
    if is_own(command.data) and same_own(data, command.data) and not splits_of_own(command.data):
        print(
            f"zoo: {command.data} names no test images, so these are also the ones that "
            f"{command.model} was trained on; --split holdout leaves them out",
            file=sys.stderr,
        )


def _left_out_lines(names: tuple[str, ...]) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} images cannot be read and are left out: {', '.join(names)}"]


def _evaluate_matching(command: commands.Eval, pattern: str, source: Any) -> Output:
    from zoo.evaluation import evaluate_all
    from zoo.pretrained.index import list_pretrained

    single = ("step", "image_size", "per_class", "logits")
    given = [name for name in single if getattr(command, name) is not None]
    if given:
        raise ValueError(f"--{given[0].replace('_', '-')} is for one model; leave out --models")
    models = list_pretrained(pattern)
    if not models:
        raise ValueError(f"no published weight matches {pattern!r}; see zoo list --pretrained")
    options: dict[str, Any] = {"precision": command.precision, "csv": command.csv}
    rows = []
    for row in evaluate_all(
        models, source, batch_size=command.batch_size, progress=True, **options
    ):
        rows.append(row)
        print(f"{len(rows)} of {len(models)}: {_row_line(row)}", file=sys.stderr)
    failed = any("error" in row for row in rows)
    return Output(rows, [_row_line(row) for row in rows], exit_code=1 if failed else 0)


def _row_line(row: dict[str, Any]) -> str:
    if "top1" not in row:
        return f"{row['model']}: {row.get('error') or row['skipped']}"
    return (
        f"{row['model']}: top-1 {100 * row['top1']:.3f} %   top-5 {100 * row['top5']:.3f} %   "
        f"loss {row['loss']:.5f}   {row['correct1']} of {row['n']}"
    )


def _write_evaluation(command: commands.Eval, result: Any, classes: Any, source: Any) -> None:
    from zoo.data.records import example_names
    from zoo.evaluation.examples import append_row

    if command.logits is not None:
        result.answers.save(command.logits, names=example_names(source), classes=classes)
    if command.per_class is not None:
        result.answers.save_per_class(command.per_class, classes)
    if command.csv is not None:
        append_row(command.csv, result.to_row(command.model))


def predict(command: commands.Predict) -> Output:
    """Classes of image files, and of all images in folders."""
    from zoo.evaluation import predict

    files = _image_files(command.files)
    if command.top < 1:
        raise ValueError(f"--top {command.top}; give at least 1")
    model = _load(command)
    answers = predict(
        model, files, top=command.top, bad_examples=command.bad_examples, progress=True
    )
    lines = [
        f"{answer['file']}: "
        + ", ".join(
            f"{guess['name']} {100 * guess['probability']:.1f} %" for guess in answer["top"]
        )
        for answer in answers
        if "error" not in answer
    ]
    bad = tuple(answer["file"] for answer in answers if "error" in answer)
    return Output(answers, [*lines, *_left_out_lines(bad)])


def _step(text: str | None) -> Any:
    if text is None or text == "best":
        return text
    if not text.isdecimal():
        raise ValueError(f'--step {text!r}; give a whole number or "best"')
    return int(text)
