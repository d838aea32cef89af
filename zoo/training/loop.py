"""`fit`: data -> step -> log -> evaluate -> checkpoint, and going on after any interruption."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import jax

from zoo.checkpoint import RunCheckpoints, read_record
from zoo.classifier import Classifier
from zoo.common.console import Working
from zoo.evaluation import evaluate_params
from zoo.models import Params, Solved
from zoo.processes.agreement import require_same
from zoo.processes.watchdog import Watchdog, watchdog
from zoo.training.budget import TimeBudget
from zoo.training.compiled import CompiledStep
from zoo.training.config import TrainConfig
from zoo.training.curvature import describe_blocks, fisher_blocks
from zoo.training.diagnosis import memory_advice, non_finite_error
from zoo.training.dispatch import Measured, steps_until
from zoo.training.folder import (
    ResumeError,
    changed_numerics,
    check_config,
    check_data,
    check_kernels,
    open_checkpoints,
    require_same_start,
    truncate_metrics,
    with_kernels_of,
    write_description,
)
from zoo.training.initial import starting_weight, unfit_head
from zoo.training.own import Own
from zoo.training.prefetch import prefetched
from zoo.training.preparing import prepare
from zoo.training.reporting import AVERAGED, Reporter
from zoo.training.run import Run
from zoo.training.signals import StopRequest
from zoo.training.step import TrainState
from zoo.training.stopping import EarlyStopping, score
from zoo.training.validation import validate

_log = logging.getLogger("zoo.training")

Resume = Literal["auto", "required", "never"]


@dataclasses.dataclass(frozen=True)
class FitResult:
    """What a run ended with.

    Attributes:
      state: the last training state.
      metrics: of the last evaluation: top1, top5, loss, n; empty before the first.
      model: with the averaged weights where there are any, else the weights.
      step: number of updates.
      run_dir: where checkpoints and logs are.
      compile_seconds: what compiling the step took.
      memory_bytes: what the step needs of a device; None where no step was left or it is unknown.
    """

    state: TrainState
    metrics: dict[str, float]
    model: Classifier
    step: int
    run_dir: Path
    compile_seconds: float
    memory_bytes: int | None = None


def fit(
    config: TrainConfig,
    workdir: str | Path,
    *,
    resume: Resume = "auto",
    allow_config_change: bool = False,
    allow_data_change: bool = False,
    progress: bool = True,
    stop_after: int | None = None,
    time_budget: float | None = None,
    initial_params: Params | None = None,
    fresh: Sequence[str] = (),
    trainable: Callable[[str], bool] | None = None,
    solved: Solved | None = None,
    own: Own | None = None,
) -> FitResult:
    """Trains a network, going on from the newest intact checkpoint of `workdir` if there is one.

      result = fit(load_config("configs/digits.py"), "runs/digits")

    Stopped at any moment and started again, it ends with the same parameters, bit for bit, as a
    run that was never stopped.

    Args:
      config: the run.
      workdir: run directory, made when absent, the same for all processes of the run; one run
        trains in it at a time.
      resume: "auto" goes on with a run or starts one; "required" only goes on; "never" only
        starts one.
      allow_config_change: go on although the configuration differs from the run's.
      allow_data_change: go on although the training data differs from the run's.
      progress: show a progress bar on standard error.
      stop_after: save and return after this many updates, for trials.
      time_budget: seconds, compilation and saving included, in which the run stops, with its state
        saved: after the last step that fits, and one at least. An evaluation that is due is
        finished. None trains to the end.
      initial_params: parameters to start from, by name; a checkpoint in `workdir` goes before.
      fresh: regular expressions of parameters not taken from `initial_params`.
      trainable: of a parameter's name, whether it is trained; None takes `config.trainable`.
      solved: activations of before, and their methods; None solves for the network.
      own: objects in the place of names; see `train`.

    Raises:
      ConfigError: with every mistake of the configuration.
      ProcessesDifferError: if the processes of the run have other configurations, code or data.
      ResumeError: if the run in `workdir` cannot go on as asked.
      CheckpointError: if no checkpoint is intact, another process trains here, or a save failed.
      NonFiniteError: with step and layer, if the loss or a gradient is not finite.
      OutOfMemoryError: with what to change, if the devices cannot hold the step.
      Preempted, Interrupted: after SIGTERM or Ctrl-C, with the state saved.
      BudgetSpent: when the time budget is spent, with the state saved.
    """
    budget = TimeBudget(time_budget)
    validate(config, device_count=jax.device_count())
    require_same_start(config)
    run_dir = Path(workdir).expanduser().absolute()
    with open_checkpoints(run_dir, config) as checkpoints:
        start = _start(checkpoints, run_dir, resume)
        record = {} if start is None else read_record(run_dir, start).record
        if start is not None and not allow_config_change:
            check_config(run_dir, record, config)
        if "model" in record and own is None:
            solved = Solved.from_json(record["model"])
        weight = starting_weight(config) if start is None and initial_params is None else None
        if weight is not None:
            solved, initial_params = weight.solved, weight.split()[1]
        with Working("preparing the run: data, network, solved activation", shown=progress):
            kernels = with_kernels_of(config, record)
            run = prepare(kernels, solved=solved, trainable=trainable, own=own)
        require_same({"data": run.pipeline.fingerprint, "test data": len(run.eval_source)})
        if start is not None and not allow_data_change:
            check_data(run_dir, record, run.pipeline.fingerprint)
        if start is not None and not allow_config_change:
            check_kernels(run_dir, record, str(run.kernels))
        if start is None:
            fresh = (*fresh, *unfit_head(weight, run.train_step.num_classes))
            state = run.initial_state(initial_params, fresh)
        else:
            state = checkpoints.restore(run.abstract_state, start).state
        if jax.process_index() == 0:
            write_description(run_dir, config)
            truncate_metrics(run_dir, start or 0)
        last = min(run.total_steps, run.total_steps if stop_after is None else stop_after)
        if start is not None and start < last and (changed := changed_numerics(record)):
            _log.warning(changed)
        stopping = EarlyStopping(config.eval.patience, record.get("scores", ()))
        with (
            Reporter(config, run_dir, run.total_steps, start or 0, progress=progress) as reporter,
            watchdog() as watching,
        ):
            session = _Session(run, run_dir, checkpoints, reporter, watching, budget, stopping)
            return session.finish(state, start or 0, last)


def _start(checkpoints: RunCheckpoints, run_dir: Path, resume: Resume) -> int | None:
    latest = checkpoints.latest_step
    if latest is None and resume == "required":
        raise ResumeError(f"{run_dir} holds no checkpoint to go on from; start a run first")
    if latest is not None and resume == "never":
        raise ResumeError(
            f"{run_dir} already holds a run at step {latest}; take another directory or resume it"
        )
    return latest


@dataclasses.dataclass(frozen=True)
class _Session:
    """A run under way: what it reports to, and what may stop it."""

    run: Run
    run_dir: Path
    checkpoints: RunCheckpoints
    reporter: Reporter
    watchdog: Watchdog
    budget: TimeBudget
    stopping: EarlyStopping

    def finish(self, state: TrainState, start: int, last: int) -> FitResult:
        """Brings the run from step `start` to `last`, if that is ahead."""
        run, evaluation, seconds, memory = self.run, {}, 0.0, None
        if start < last and not self.stopping.over:
            with memory_advice(run.config):
                dtype = run.config.model.precision
                self.reporter.say(f"kernels: {run.kernels.description}, {dtype}")
                self.reporter.say("compiling the training step")
                step, seconds = run.compile()
                memory = step.memory_bytes
                self.reporter.begin(start, seconds)
                state, evaluation = self.train(step, state, start, last)
        elif start >= run.total_steps or self.stopping.over:
            self.reporter.say(f"step {start} of {run.total_steps} is reached: all is trained")
            evaluation = self.evaluate(state)
        model = run.model_of(state)
        return FitResult(state, evaluation, model, int(state.step), self.run_dir, seconds, memory)

    def train(
        self, step: CompiledStep, state: TrainState, start: int, last: int
    ) -> tuple[TrainState, dict[str, float]]:
        """Steps `start` to `last`; gives the state and the last evaluation."""
        run, reporter, checkpoints = self.run, self.reporter, self.checkpoints
        config = run.config
        evaluation, measured, done = {}, Measured(AVERAGED), start
        periods = (config.log.every_steps, config.eval.every_steps, config.checkpoint.every_steps)
        if run.train_step.needs_curvature:
            reporter.say(self._curvature())
        self.watchdog.beat()
        prepared = prefetched(run.batches(start), depth=2 * run.steps_per_dispatch)
        with StopRequest() as stop, prepared as batches:
            while done < last:
                count = min(run.steps_per_dispatch, steps_until(periods, done, last))
                count = self.budget.cut(count, done)
                batch = run.place(run.gather(batches, count))
                with jax.transfer_guard("disallow"):
                    state, metrics = step(state, batch)
                done += count
                self.budget.completed(measured.add(done, count, metrics))
                if plan := self.budget.plan(start, done, run.total_steps):
                    reporter.say(plan)
                reporter.advance(done)
                self.watchdog.beat()
                checkpoints.poll()
                logs = done == last or _divides(config.log.every_steps, done)
                # At the last step what is left is the evaluation, without which nothing is done.
                late = done < last and self.budget.steps_left(done) < 1
                signal = stop.received(done, late=late)
                evaluates = done == run.total_steps or _divides(config.eval.every_steps, done)
                saves = done == last or _divides(config.checkpoint.every_steps, done)
                if not (logs or evaluates or saves or signal):
                    continue
                _require_finite(run, state)
                reporter.training_line(done, *measured.take())
                self.budget.completed(done)
                if evaluates and not signal:
                    evaluation = self.evaluate(state)
                    reporter.evaluation_line(done, evaluation)
                    self.stopping.add(score(evaluation, config.eval.criterion))
                if evaluates or saves or signal:
                    self.save(done, state, evaluation if evaluates and not signal else None)
                if signal:
                    checkpoints.wait()
                    raise stop.error(signal, done)
                if self.stopping.over:
                    reporter.say(
                        f"step {done}: {self.stopping.patience} evaluations without a better one"
                    )
                    break
                self.budget.restart(done, checkpoints.save_seconds)
        return state, evaluation

    def _curvature(self) -> str:
        """What K-FAC approximates, in words."""
        params = self.run.abstract_state.params.items()
        trained = {name: leaf for name, leaf in params if name in self.run.train_step.trained}
        return describe_blocks(fisher_blocks(trained))

    def save(self, step: int, state: TrainState, metrics: dict[str, float] | None) -> None:
        """Starts saving the state with all that going on needs to know."""
        record = {**self.run.record, "scores": self.stopping.history}
        self.checkpoints.save(step, state, metrics=metrics, record=record)
        self.watchdog.beat()

    def evaluate(self, state: TrainState) -> dict[str, float]:
        """Accuracy and loss on the test data, the same in every process."""
        run = self.run
        result = evaluate_params(
            run.train_step.graphdef,
            state.inference_params,
            run.eval_source,
            run.config.preprocessing,
            batch_size=run.config.eval.batch_size,
            kernels=run.kernels,
            devices=list(run.mesh.devices.flat),
            on_batch=self.watchdog.beat,
        )
        return {"top1": result.top1, "top5": result.top5, "loss": result.loss, "n": result.n}


def _divides(period: int, step: int) -> bool:
    return period > 0 and step % period == 0


def _require_finite(run: Run, state: TrainState) -> None:
    if not jax.device_get(state.finite):
        batch = run.pipeline.batch(int(state.step))
        examples = [int(number) for number in batch["index"]]
        raise non_finite_error(run.train_step, state, run.place(batch), examples)
