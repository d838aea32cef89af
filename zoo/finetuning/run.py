"""`finetune`: check the data, solve the head, train what is asked for, keep the better, report."""

import dataclasses
import functools
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

from zoo.classifier import Classifier
from zoo.common import files
from zoo.common.console import Working
from zoo.data import Source
from zoo.data.own_pictures import is_own
from zoo.data.resident import in_memory
from zoo.evaluation import evaluate_params
from zoo.finetuning.baseline import Baseline, pixel_baseline
from zoo.finetuning.options import FinetuneOptions
from zoo.finetuning.origin import Origin, read_origin
from zoo.finetuning.outcome import PROBE, TRAINED, better, measured, verdict
from zoo.finetuning.pictures import look_at, require_sound, size_warning
from zoo.finetuning.plan import Splits, finetuning_config, layers_trained, splits_of
from zoo.finetuning.probe import embed, linear_probe
from zoo.finetuning.report import Shown, write_report
from zoo.finetuning.result import REPORT, FinetuneResult
from zoo.models import Params, parameters_of
from zoo.pretrained import load_pretrained
from zoo.pretrained.loading import as_classifier
from zoo.pretrained.runs import CHOSEN, RESULT
from zoo.training import TrainConfig, fit, prepare, validate
from zoo.training.examples import evaluation_command, open_split
from zoo.training.folder import METRICS, open_checkpoints, write_json

_log = logging.getLogger("zoo.finetuning")


class _Job(NamedTuple):
    """One fine-tuning: `sources` by split, and the same as the network sees them, `frames`."""

    start: Classifier
    config: TrainConfig
    workdir: Path
    splits: Splits
    sources: dict[str, Source]
    frames: dict[str, Source]
    progress: bool

    def say(self, text: str) -> None:
        """A line on standard error, where progress is shown."""
        if self.progress:
            print(text, file=sys.stderr, flush=True)


def finetune(
    model: Classifier | str | Path,
    data: str,
    *,
    workdir: str | Path,
    classes: tuple[str, ...] = (),
    data_dir: str | None = None,
    progress: bool = True,
    **options: Any,
) -> FinetuneResult:
    """Trains a pretrained network on the classes of another data set.

      finetune("vanilla_resnet50_tat_lrelu.digits", "folder:photos", workdir="runs/photos")

    A linear probe comes first: every image is embedded once and the new head solved on these
    features. It is step 0 of the run; from there the layers that `train` names are trained, until
    the validation loss falls no more. Of the probe and the trained network the better on the
    validation images is kept. Started again on a `workdir` that was interrupted, it goes on and
    ends the same.

    Args:
      model: a pretrained classifier, or whatever `load_pretrained` accepts.
      data: what `open_source` accepts.
      workdir: run directory; `evaluate`, `predict` and `load_pretrained` accept it.
      classes: use only these classes of the data, in this order; empty means all.
      data_dir: folder of the data.
      progress: show what is done on standard error.
      **options: fields of `FinetuneOptions`, such as train="last:3" or steps=200.

    Raises:
      ValueError: for an unknown `train`, or a network that a training configuration cannot name.
      ConfigError: with every mistake in the other arguments.
      OtherRunError: if `workdir` holds the run of another weight, other data or another plan.
    """
    asked = FinetuneOptions(**options)
    start = as_classifier(model)
    workdir = Path(workdir).expanduser().absolute()
    plan = functools.partial(
        finetuning_config, start, data, classes=classes, data_dir=data_dir, **options
    )
    config, before = plan(), read_origin(workdir)
    if before is None and is_own(data) and progress:
        print(f"looking at every picture of {data}", file=sys.stderr, flush=True)
    found = require_sound(data, start, asked.bad_examples) if before is None else before.findings
    config = plan(exclude=found.exclude) if found.exclude else config
    if config.steps:
        validate(config)
    splits = splits_of(data)
    sources = {name: open_split(config, name, None) for name in dataclasses.astuple(splits)}
    origin = Origin.of(start, sources, config, named="" if model is start else str(model))
    if before is not None:
        before.require(origin, workdir)
        origin = before
    frames = {name: in_memory(source, start.preprocess) for name, source in sources.items()}
    job = _Job(start, config, workdir, splits, sources, frames, progress)
    if before is None:
        origin = _begin(job, dataclasses.replace(origin, findings=found))
    made = 0
    if config.steps:
        made = fit(config, workdir, solved=start.solved, progress=progress).step
    with Working("measuring, and writing the report", shown=progress):
        return _finish(job, made, origin, asked)


def _begin(job: _Job, origin: Origin) -> Origin:
    """Says what is odd about the data, fits the baseline, and saves the probe as step 0."""
    train, choose, test = (job.frames[name] for name in dataclasses.astuple(job.splits))
    look = look_at(job.sources[job.splits.train])
    found = origin.findings
    odd = (*found.warnings, *size_warning(look, job.start.preprocess), *_held_out(job))
    for warning in odd:
        _log.warning("%s: %s", job.config.data.name, warning)
    job.say("logistic regression on pixels, to compare with")
    baseline = pixel_baseline(train, choose, test, job.start.preprocess)
    origin = dataclasses.replace(
        origin,
        findings=dataclasses.replace(found, warnings=odd),
        baseline=dataclasses.asdict(baseline),
    )
    job.workdir.mkdir(parents=True, exist_ok=True)
    origin.save(job.workdir)
    _solve_head(job)
    return origin


def _held_out(job: _Job) -> tuple[str, ...]:
    """Says so where the images that choose are also those that measure."""
    splits, sources = job.splits, job.sources
    if splits.choose != splits.measure:
        return ()
    train, chosen = (len(sources[name]) for name in (splits.train, splits.choose))
    return (
        f"there are no test images: {chosen} of {train + chosen} are not trained on ("
        f"{splits.choose}), choose the step and measure it, which is a little too good",
    )


def _solve_head(job: _Job) -> None:
    """Saves the linear probe as step 0 of the run, which stands for it until the end."""
    config, start = job.config, job.start
    run = prepare(config, solved=start.solved)
    train, choose = (job.frames[name] for name in (job.splits.train, job.splits.choose))
    job.say(f"embedding {len(train) + len(choose):,} images and solving the head: the linear probe")
    graphdef, params = start.split()
    fitted, chosen = (embed(graphdef, params, s, config.preprocessing) for s in (train, choose))
    settings = config.regularization
    probe = linear_probe(
        fitted, chosen, run.train_step.num_classes,
        label_smoothing=settings.label_smoothing, class_weights=settings.class_weights,
    )  # fmt: skip
    state = run.initial_state({**params, **probe.head})
    found = evaluate_params(
        run.train_step.graphdef, state.inference_params, choose, config.preprocessing
    )
    # Without metrics it is never the best of the steps: `better` compares it with that one.
    with open_checkpoints(job.workdir, config) as checkpoints:
        checkpoints.save(0, state, record={**run.record, "scores": [], "probe": list(probe.top1)})
    write_json(job.workdir / CHOSEN, {"step": 0})
    metrics = {name: getattr(found, name) for name in ("top1", "top5", "loss", "n")}
    line = json.dumps({"step": 0, "split": config.eval.split, "eval": metrics})
    files.write(job.workdir / METRICS, line + "\n")
    job.say(f"step 0, the linear probe: {job.splits.choose} top1 {found.top1:.2%}, n = {found.n}")


def _finish(job: _Job, made: int, origin: Origin, asked: FinetuneOptions) -> FinetuneResult:
    start, config, workdir, splits = job.start, job.config, job.workdir, job.splits
    choose, test = (job.frames[name] for name in (splits.choose, splits.measure))
    probe = measured(PROBE, workdir, 0, choose, test)
    trained = measured(TRAINED, workdir, "best", choose, test) if made else None
    if trained is not None:
        job.say(verdict(probe, trained, splits.choose))
    best = better(probe, trained)
    write_json(workdir / CHOSEN, {"step": best.step})
    params: Params = start.split()[1]
    new = tuple(parameters_of(start.network.layout, params, "head"))
    result = FinetuneResult(
        model=load_pretrained(workdir),
        best=best,
        probe=probe,
        trained=trained,
        baseline=Baseline(**origin.baseline),
        splits=splits,
        workdir=workdir,
        steps_made=made,
        commands=(
            evaluation_command(workdir, config, splits.measure),
            shlex.join(["zoo", "predict", str(workdir)]) + " FILES",
        ),
        kept=tuple(name for name in params if name not in new),
        new=new,
        warnings=origin.findings.warnings,
        weight=origin.weight,
        layers=layers_trained(asked.train),
        data_terms=asked.data_terms,
    )
    write_json(workdir / RESULT, {**result.to_json(), "evaluation": best.test.to_json()})
    shown = Shown(result, config, job.frames[splits.train], job.sources[splits.measure])
    write_report(workdir / REPORT, shown)
    return result
