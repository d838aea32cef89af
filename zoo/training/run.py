"""A configuration made ready to run: data, network, compiled step, all from the config alone."""

import dataclasses
import functools
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from zoo.data import Source, TrainPipeline
from zoo.data.resident import in_memory, resident_arrays, resident_batch, resident_orders
from zoo.models import Network, Params, create_model, merge, overrides_of, split, statistics_of
from zoo.processes.arrays import everywhere
from zoo.shaping import ShapedActivation
from zoo.training.config import TrainConfig
from zoo.training.curvature import check_layers
from zoo.training.decode import ConfigError
from zoo.training.dispatch import largest_dispatch, repeated, stacked
from zoo.training.examples import class_count, make_pipeline, open_split
from zoo.training.schedule import make_schedule
from zoo.training.sharding import (
    batch_sharding,
    make_mesh,
    replicated,
    state_shardings,
    used_shardings,
)
from zoo.training.step import Batch, Metrics, TrainState, TrainStep

_QUICK_COMPILE: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
}

Compiled = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training run consists of, before its first step.

    Attributes:
      config: of the run.
      pipeline: training batches by step.
      eval_source: examples of the evaluation.
      model: the network, abstract: its structure, activation and names.
      train_step: the update.
      mesh: the devices.
      total_steps: number of updates.
    """

    config: TrainConfig
    pipeline: TrainPipeline
    eval_source: Source
    model: Network
    train_step: TrainStep
    mesh: Mesh
    total_steps: int

    @property
    def steps_per_dispatch(self) -> int:
        """Steps that one call of the compiled step makes, at most."""
        return largest_dispatch(self.config)

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """Shapes, dtypes and shardings of the state."""
        return abstract_state(self.train_step, split(self.model)[1], self.mesh)

    @functools.cached_property
    def shardings(self) -> TrainState:
        """The sharding of every leaf of the state."""
        return jax.tree.map(lambda leaf: leaf.sharding, self.abstract_state)

    def initial_state(
        self, initial_params: Params | None = None, fresh: Sequence[str] = ()
    ) -> TrainState:
        """The state before the first step, born with its shardings: no device holds more.

        Args:
          initial_params: parameters to start from, by name; None starts all at random.
          fresh: regular expressions; parameters they find start at random all the same.

        Raises:
          ConfigError: lists every parameter that is missing, unknown or of another shape.
        """
        given = self._given(initial_params, fresh) if initial_params is not None else {}

        def init(given: Params) -> TrainState:
            model = _create(self.config, self.train_step.num_classes, self.model.activation)
            params = split(model)[1]
            cast = {name: given[name].astype(params[name].dtype) for name in given}
            return self.train_step.init({**params, **cast})

        # It runs once: on CPU optimising its many small factorisations takes longer than they do.
        options = _QUICK_COMPILE if jax.default_backend() == "cpu" else {}
        start = jax.jit(init, out_shardings=self.shardings, compiler_options=options)
        return start(given)

    def compile(self) -> tuple[Compiled, float]:
        """The step for these devices, with the state donated, and the seconds it took to compile.

        Where `steps_per_dispatch` is above 1 it takes what `gather` gives and makes that many
        steps; every metric then has a first axis over them. Compiled ahead of time for one shape:
        a call can fail, but never compile again.
        """
        local = self.place(self.gather(self.batches(0), 1))
        batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), local
        )
        data = self._resident_arrays()
        started = time.perf_counter()
        step = jax.jit(
            self._step,
            out_shardings=(self.shardings, replicated(self.mesh)),
            donate_argnums=0,
        )
        compiled = step.lower(self.abstract_state, batch, data).compile()
        return lambda state, batch: compiled(state, batch, data), time.perf_counter() - started

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """What the host gives the steps from `start` on: batches, or which examples they take."""
        if self.config.data.resident:
            return resident_orders(self.pipeline, start)
        return self.pipeline.batches(start)

    def gather(self, batches: Iterator[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
        """The next `count` of `batches` as what one dispatch takes."""
        size = self.steps_per_dispatch
        return next(batches) if size == 1 else stacked([*islice(batches, count)], size)

    def place(self, batch: Mapping[str, np.ndarray]) -> Batch:
        """This process's part of a batch, put on its devices as part of the global one."""
        count = {name: batch[name] for name in ("count",) if name in batch}
        sharding = batch_sharding(self.mesh, stacked=bool(count))
        names = ("image", "label") if "image" in batch else ("index", "epoch")
        put = jax.make_array_from_process_local_data
        return {name: put(sharding, batch[name]) for name in names} | everywhere(count, self.mesh)

    def _step(self, state: TrainState, batch: Batch, data: Batch) -> tuple[TrainState, Metrics]:
        if "count" in batch:
            return repeated(functools.partial(self._step, data=data), state, batch)
        if data:
            batch = resident_batch(data, batch, self.config.seed, self.config.augmentation)
        return self.train_step(state, batch)

    def _resident_arrays(self) -> Batch:
        """The whole training split on every device, or nothing when the host makes the batches."""
        if not self.config.data.resident:
            return {}
        return everywhere(resident_arrays(self.pipeline), self.mesh)

    def model_of(self, state: TrainState) -> Network:
        """The network with the parameters of `state` that are evaluated and published."""
        model = merge(self.train_step.graphdef, state.inference_params)
        model.preprocess = self.config.preprocessing
        model.classes = tuple(self.pipeline.source.classes)
        return model

    @property
    def record(self) -> dict[str, Any]:
        """What a checkpoint says about itself, as JSON values."""
        model = {
            "arch": self.model.arch,
            "overrides": overrides_of(self.model),
            "activation": dataclasses.asdict(self.model.activation),
            "preprocess": dataclasses.asdict(self.config.preprocessing),
            "classes": list(self.pipeline.source.classes),
        }
        return {
            "model": model,
            "config": self.config.to_json(),
            "data": self.pipeline.fingerprint,
            "total_steps": self.total_steps,
        }

    def _given(self, initial: Params, fresh: Sequence[str]) -> Params:
        wanted = self.abstract_state.params
        is_fresh = {name for name in wanted if any(re.search(p, name) for p in fresh)}
        lines = [f"unknown to the model: {name}" for name in initial if name not in wanted]
        for name in sorted(set(wanted) - is_fresh):
            if name not in initial:
                lines.append(f"missing: {name} {wanted[name].shape}")
            elif initial[name].shape != wanted[name].shape:
                shapes = f"{initial[name].shape} given, {wanted[name].shape} expected"
                lines.append(f"other shape: {name} is {shapes}")
        if lines:
            raise ConfigError(
                "the initial parameters do not fit the model (name those that shall start at "
                "random in `fresh`):\n  " + "\n  ".join(lines)
            )
        return {name: initial[name] for name in wanted if name not in is_fresh}


def prepare(
    config: TrainConfig,
    *,
    activation: ShapedActivation | None = None,
    trainable: Callable[[str], bool] | None = None,
) -> Run:
    """Opens the data and builds the abstract network; nothing is compiled.

    Args:
      config: already validated.
      activation: solved before, for instance of a checkpoint; None solves for the network.
      trainable: of a parameter's name, whether it is trained; None takes `config.trainable`.

    Raises:
      ConfigError: if the data's classes or size contradict the configuration, or nothing is left
        to train.
    """
    source = open_split(config, config.data.split, config.data.limit)
    classes = class_count(config, source)
    mesh, total = make_mesh(config.mesh), config.total_steps(len(source))
    model, train_step = build_step(
        config, classes, total, mesh, activation=activation, trainable=trainable
    )
    measured = open_split(config, config.eval.split, config.eval.limit)
    return Run(
        config=config,
        pipeline=make_pipeline(config, source, mesh),
        eval_source=in_memory(measured, config.preprocessing) if config.data.resident else measured,
        model=model,
        train_step=train_step,
        mesh=mesh,
        total_steps=total,
    )


def build_step(
    config: TrainConfig,
    num_classes: int,
    total_steps: int,
    mesh: Mesh,
    *,
    activation: ShapedActivation | None = None,
    trainable: Callable[[str], bool] | None = None,
) -> tuple[Network, TrainStep]:
    """The abstract network and its step, for devices that need not be there.

    Raises:
      ConfigError: if nothing is left to train, or the optimiser does not fit the network.
    """
    model = _create(config, num_classes, activation, abstract=True)
    graphdef, params = split(model)
    selects = trainable or (lambda name: re.search(config.trainable, name) is not None)
    selected = frozenset(name for name in params if selects(name))
    statistics = selected & statistics_of(model)
    trained = selected - statistics
    if not trained:
        raise ConfigError(
            f"trainable={config.trainable!r} selects no parameter of {config.model.arch}; the "
            f"first are {', '.join(list(params)[:4])}"
        )
    if config.optimizer.name == "kfac":
        check_layers(model, {name: params[name] for name in params if name in trained})
    schedule = make_schedule(config.schedule, config.optimizer.learning_rate, total_steps)
    used = used_shardings(state_shardings(params, mesh, config.mesh))
    step = TrainStep(config, graphdef, num_classes, schedule, trained, statistics, used)
    return model, step


def abstract_state(train_step: TrainStep, params: Params, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state that belongs to abstract parameters."""
    bare = jax.eval_shape(train_step.init, params)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        bare,
        state_shardings(bare, mesh, train_step.config.mesh),
    )


def _create(
    config: TrainConfig,
    num_classes: int,
    activation: ShapedActivation | None,
    *,
    abstract: bool = False,
) -> Network:
    options: dict[str, Any] = {**dataclasses.asdict(config.model), "num_classes": num_classes}
    if config.model.input_norm is None:
        del options["input_norm"]
    return create_model(
        options.pop("arch"),
        **options,
        in_channels=config.preprocessing.channels,
        activation=activation,
        seed=config.seed,
        abstract=abstract,
    )
