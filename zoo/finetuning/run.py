"""`finetune`: check the data, solve the head, train what is asked for, keep the best, report."""

import dataclasses
import functools
import json
import logging
import shlex
from pathlib import Path
from typing import Any, Literal

from zoo.checkpoint import read_record
from zoo.data import Source
from zoo.evaluation import evaluate, evaluate_params, split_bare
from zoo.finetuning.origin import Origin, read_origin
from zoo.finetuning.pictures import look_at, require_sound, size_warning
from zoo.finetuning.plan import LABEL_SMOOTHING, Splits, finetuning_config, splits_of
from zoo.finetuning.probe import embed, linear_probe
from zoo.finetuning.report import write_report
from zoo.models import Network, Params, split
from zoo.pretrained import load_pretrained
from zoo.pretrained.runs import RESULT
from zoo.training import TrainConfig, fit, prepare, validate
from zoo.training.examples import evaluation_command, open_split
from zoo.training.folder import METRICS, open_checkpoints
from zoo.training.stopping import score

_log = logging.getLogger("zoo.finetuning")
REPORT = "report.html"


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """What fine-tuning ended with.

    Attributes:
      model: the best network, with `preprocess` and `classes`; `load_pretrained(workdir)` gives it.
      metrics: of `model` on the split that is measured: top1, top5, loss, n.
      splits: which splits trained, chose `model`, and were measured.
      validation: of `model` on the split that chose it: top1, top5, loss, n.
      workdir: the run directory, with `report.html` and `result.json`.
      step: updates behind `model`; 0 is the linear probe.
      steps_made: updates made until the end.
      commands: that evaluate and predict with it.
      kept: parameters that started from the pretrained ones.
      new: parameters that started as the linear probe.
      warnings: what `check_pictures` found odd about the data, and training did not refuse.
    """

    model: Network
    metrics: dict[str, float]
    splits: Splits
    validation: dict[str, float]
    workdir: Path
    step: int
    steps_made: int
    commands: tuple[str, str]
    kept: tuple[str, ...]
    new: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All but the model, as JSON values."""
        return {
            **dataclasses.asdict(dataclasses.replace(self, model=None)),  # pyrefly: ignore
            "workdir": str(self.workdir),
            "model": self.model.arch,
            "classes": list(self.model.classes),
            "kept": len(self.kept),
            "new": list(self.new),
            "commands": list(self.commands),
            "report": str(self.workdir / REPORT),
        }


def finetune(
    model: Network | str | Path,
    data: str,
    *,
    workdir: str | Path,
    classes: tuple[str, ...] = (),
    train: str = "all",
    layer_decay: float = 1.0,
    steps: int | None = None,
    batch_size: int = 64,
    learning_rate: float | None = None,
    data_dir: str | None = None,
    seed: int = 0,
    bad_examples: Literal["error", "skip"] = "error",
    progress: bool = True,
) -> FinetuneResult:
    """Trains a pretrained network on the classes of another data set.

      finetune("vanilla_resnet50_tat_lrelu.digits", "folder:photos", workdir="runs/photos")

    A linear probe comes first: every image is embedded once and the new head solved on these
    features. It is step 0 of the run; from there the layers that `train` names are trained, until
    the validation loss falls no more. The best step is kept. Started again on a `workdir` that
    was interrupted, it goes on and ends the same.

    Args:
      model: a pretrained network, or whatever `load_pretrained` accepts.
      data: what `open_source` accepts.
      workdir: run directory; `evaluate`, `predict` and `load_pretrained` accept it.
      classes: use only these classes of the data, in this order; empty means all.
      train: "head", the linear probe alone; "last:N", the last N blocks and the head; "all".
      layer_decay: factor on the learning rate per block of distance from the head.
      steps: number of updates; None: 20 epochs, at least 200 steps and at most 20,000.
      batch_size: examples per step over all devices.
      learning_rate: peak of the cosine schedule; None: 0.03.
      data_dir: folder of the data.
      seed: of the order of examples.
      bad_examples: "error" stops at images that cannot be read; "skip" leaves them out, everywhere.
      progress: show a progress bar on standard error.

    Raises:
      ValueError: for an unknown `train`, or a network that a training configuration cannot name.
      ConfigError: with every mistake in the other arguments.
      OtherRunError: if `workdir` holds the run of another weight, other data or another plan.
    """
    start = model if isinstance(model, Network) else load_pretrained(model)
    if start.preprocess is None:
        raise ValueError("the network has no preprocessing; load it with load_pretrained")
    workdir = Path(workdir).expanduser().absolute()
    plan = functools.partial(
        finetuning_config, start, data, train=train, classes=classes, steps=steps,
        batch_size=batch_size, learning_rate=learning_rate, layer_decay=layer_decay,
        data_dir=data_dir, seed=seed,
    )  # fmt: skip
    config, before = plan(), read_origin(workdir)
    found = require_sound(data, start, bad_examples) if before is None else before.findings
    config = plan(exclude=found.exclude) if found.exclude else config
    if config.steps:
        validate(config)
    splits = splits_of(data)
    sources = {name: open_split(config, name, None) for name in dataclasses.astuple(splits)}
    origin = Origin.of(start, sources, config)
    if before is None:
        look = look_at(sources[splits.train])
        odd = (
            *found.warnings, *size_warning(look, start.preprocess), *_held_out(splits, sources),
        )  # fmt: skip
        origin = dataclasses.replace(origin, findings=dataclasses.replace(found, warnings=odd))
        for warning in odd:
            _log.warning("%s: %s", data, warning)
        workdir.mkdir(parents=True, exist_ok=True)
        origin.save(workdir)
        _solve_head(start, config, workdir)
    else:
        before.require(origin, workdir)
        origin = before
    made = 0
    if config.steps:
        made = fit(config, workdir, activation=start.activation, progress=progress).step
    return _finish(start, config, workdir, made, origin)


def _held_out(splits: Splits, sources: dict[str, Source]) -> list[str]:
    """Says so where the images that choose are also those that measure."""
    if splits.choose != splits.measure:
        return []
    train, chosen = (len(sources[name]) for name in (splits.train, splits.choose))
    return [
        f"there are no test images: {chosen} of {train + chosen} are not trained on ("
        f"{splits.choose}), choose the step and measure it, which is a little too good"
    ]


def _solve_head(start: Network, config: TrainConfig, workdir: Path) -> None:
    """Saves the linear probe as step 0 of the run."""
    run = prepare(config, activation=start.activation)
    graphdef, params = split_bare(start)
    train, val = (
        embed(graphdef, params, source, config.preprocessing)
        for source in (run.pipeline.source, run.eval_source)
    )
    probe = linear_probe(train, val, run.train_step.num_classes, label_smoothing=LABEL_SMOOTHING)
    state = run.initial_state({**split(start)[1], **probe.head})
    measured = evaluate_params(
        run.train_step.graphdef, state.inference_params, run.eval_source, config.preprocessing
    )
    metrics = _metrics(measured)
    scores = [score(metrics, config.eval.criterion)]
    record = {**run.record, "scores": scores, "probe": list(probe.top1)}
    with open_checkpoints(workdir, config) as checkpoints:
        checkpoints.save(0, state, metrics=metrics, record=record)
    line = json.dumps({"step": 0, "split": config.eval.split, "eval": metrics})
    (workdir / METRICS).write_text(line + "\n", encoding="utf-8")


def _finish(
    start: Network, config: TrainConfig, workdir: Path, made: int, origin: Origin
) -> FinetuneResult:
    best = load_pretrained(workdir)
    record = read_record(workdir, "best")
    splits = splits_of(config.data.name)
    source = open_split(config, splits.measure, None)
    measured = evaluate(best, source)
    params: Params = split(start)[1]
    new = tuple(name for name in params if name.startswith("head."))
    result = FinetuneResult(
        model=best,
        metrics=_metrics(measured),
        splits=splits,
        validation=dict(record.metrics),
        workdir=workdir,
        step=record.step,
        steps_made=made,
        commands=(
            evaluation_command(workdir, config, splits.measure),
            shlex.join(["zoo", "predict", str(workdir)]) + " FILES",
        ),
        kept=tuple(name for name in params if name not in new),
        new=new,
        warnings=origin.findings.warnings,
    )
    text = json.dumps({**result.to_json(), "evaluation": measured.to_json()}, indent=1)
    (workdir / RESULT).write_text(text + "\n", encoding="utf-8")
    write_report(workdir / REPORT, result.to_json(), measured, source, config)
    return result


def _metrics(measured: Any) -> dict[str, float]:
    return {name: getattr(measured, name) for name in ("top1", "top5", "loss", "n")}
