"""What the commands do: each calls one public function and says the same twice, as JSON and text.

Every function imports what it needs itself, so that `zoo list` does not pay for training.
"""

import dataclasses
import sys
from typing import Any

from zoo.cli import commands
from zoo.cli.text import Output, accuracies, aligned, fields
from zoo.common.console import byte_count

_WEIGHT_COLUMNS = ("id", "parameters", "size", "input", "accuracy", "without a tag")


def list_ids(command: commands.List) -> Output:
    """Ids of models with the tags of their weights, or published weights."""
    is_pattern = any(mark in command.pattern for mark in "*?[")
    pattern = command.pattern if is_pattern else f"*{command.pattern}*"
    from zoo.pretrained.index import list_pretrained, read_index

    index = read_index()
    if command.pretrained:
        ids = list_pretrained(pattern)
        lines = aligned(_WEIGHT_COLUMNS, [_weight_row(id, index[id]) for id in ids], right=(1, 2))
    else:
        from zoo.models import list_models

        ids = list_models(pattern)
        tags: dict[str, list[str]] = {}
        for id in index:
            arch, _, tag = id.partition(".")
            tags.setdefault(arch, []).append(f".{tag}")
        lines = aligned(("id", "weights"), [(id, " ".join(tags.get(id, ()))) for id in ids])
    if not ids:
        what = "published weight" if command.pretrained else "model"
        every = "zoo list --pretrained" if command.pretrained else "zoo list"
        lines = [f"no {what} matches {command.pattern!r}; all: {every}"]
    return Output(ids, lines)


def _weight_row(id: str, entry: Any) -> tuple[str, ...]:
    about = entry.about
    return (
        id,
        f"{about['params']:,}" if "params" in about else "",
        byte_count(about["bytes"]) if "bytes" in about else "",
        " x ".join(map(str, about.get("input_size", ()))),
        accuracies(entry.metrics),
        "default" if entry.is_default else "",
    )


def _load(command: commands.Eval | commands.Predict) -> Any:
    from zoo.pretrained import load_pretrained

    return load_pretrained(command.model, step=_step(command.step), image_size=command.image_size)


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
    """Classes of image files."""
    from zoo.evaluation import predict

    model = _load(command)
    answers = predict(
        model, command.files, top=command.top, bad_examples=command.bad_examples, progress=True
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


def train(command: Any) -> Output:
    """Training from a configuration."""
    from zoo.common.console import parse_duration
    from zoo.training import fit
    from zoo.training.examples import evaluation_command
    from zoo.training.validation import check_preprocessing

    commands.require_configuration(command)
    settings = command.settings
    if command.start is not None:
        settings = dataclasses.replace(settings, init_from=command.start)
    check_preprocessing(settings)
    result = fit(
        settings,
        command.workdir,
        resume=command.resume,
        time_budget=None if command.time_budget is None else parse_duration(command.time_budget),
        allow_config_change=command.allow_config_change,
        allow_data_change=command.allow_data_change,
    )
    config = command.settings
    value = {"workdir": str(result.run_dir), "step": result.step, "metrics": result.metrics}
    line = _trained_line(value, f"{config.data.name} {config.eval.split}")
    again = evaluation_command(result.run_dir, config, config.eval.split)
    return Output(value, [line, f"evaluate: {again}"])


def finetune(command: commands.Finetune) -> Output:
    """Training of a pretrained network on new classes."""
    from zoo.finetuning import finetune
    from zoo.pretrained import load_pretrained

    channels, size = command.in_channels, command.image_size
    result = finetune(
        load_pretrained(command.model, in_channels=channels, image_size=size),
        command.data,
        workdir=command.workdir,
        classes=command.classes,
        data_dir=command.data_dir,
        **dataclasses.asdict(command.options),
    )
    value = result.to_json()
    measured = f"{command.data} {value['splits']['measure']}"
    lines = [_trained_line(value, measured), *value["commands"], f"report: {value['report']}"]
    return Output(value, lines)


def version(command: commands.Version) -> Output:
    """The version of this program."""
    from zoo import __version__

    return Output({"version": __version__}, [f"zoo {__version__}"])


def _step(text: str | None) -> Any:
    if text is None or text == "best":
        return text
    if not text.isdecimal():
        raise ValueError(f'--step {text!r}; give a whole number or "best"')
    return int(text)


def _trained_line(value: dict[str, Any], name: str) -> str:
    measured = accuracies({name: value["metrics"]}) or "not evaluated"
    return f"step {value['step']} in {value['workdir']}: {measured}"
