"""A run that is ready: data, abstract network, compiled step, and its state on the devices."""

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from zoo.classifier import OWN, Classifier, Provenance
from zoo.data import Source, TrainPipeline
from zoo.data.resident import resident_arrays, resident_batch, resident_orders
from zoo.kernels import Kernels
from zoo.models import (
    Network,
    Params,
    Solved,
    changed_options,
    merge,
    rebuilt,
    split,
)
from zoo.processes.arrays import everywhere
from zoo.training.compiled import CompiledStep
from zoo.training.config import TrainConfig
from zoo.training.dispatch import largest_dispatch, repeated, stacked
from zoo.training.folder import numerics
from zoo.training.initial import fitting
from zoo.training.sharding import (
    batch_sharding,
    replicated,
    state_shardings,
)
from zoo.training.step import Batch, Metrics, TrainState, TrainStep

_QUICK_COMPILE: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": True,
}


@dataclasses.dataclass(frozen=True)
class Run:
    """What a training run consists of, before its first step.

    Attributes:
      config: of the run.
      pipeline: training batches by step.
      eval_source: examples of the evaluation.
      model: the network, abstract: its structure, activations and names.
      solved: its activations, and the methods that solved them.
      train_step: the update.
      mesh: the devices.
      total_steps: number of updates.
      kernels: what computes the convolutions and matrix products of the step.
    """

    config: TrainConfig
    pipeline: TrainPipeline
    eval_source: Source
    model: Network
    solved: Solved
    train_step: TrainStep
    mesh: Mesh
    total_steps: int
    kernels: Kernels

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
        wanted = self.abstract_state.params
        given = {} if initial_params is None else fitting(initial_params, wanted, fresh)

        def init(given: Params) -> TrainState:
            if given.keys() == wanted.keys():
                return self.train_step.init(given)
            params = split(rebuilt(self.model, seed=self.config.seed))[1]
            cast = {name: given[name].astype(params[name].dtype) for name in given}
            return self.train_step.init({**params, **cast})

        # It runs once: on CPU optimising its many small factorisations takes longer than they do.
        options = _QUICK_COMPILE if jax.default_backend() == "cpu" else {}
        start = jax.jit(init, out_shardings=self.shardings, compiler_options=options)
        return start(given)

    def compile(self) -> tuple[CompiledStep, float]:
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
            self.kernels.applied(self._step),
            out_shardings=(self.shardings, replicated(self.mesh)),
            donate_argnums=0,
        )
        compiled = step.lower(self.abstract_state, batch, data).compile()
        return CompiledStep(compiled, data), time.perf_counter() - started

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

    def model_of(self, state: TrainState) -> Classifier:
        """The classifier with the parameters of `state` that are evaluated and published."""
        arch = self.config.model.arch
        return Classifier(
            merge(self.train_step.graphdef, state.inference_params),
            self.config.preprocessing,
            tuple(self.pipeline.source.classes),
            Provenance("" if arch == OWN else arch, self.solved.shaping),
        )

    @property
    def record(self) -> dict[str, Any]:
        """What a checkpoint says about itself, as JSON values."""
        arch = self.config.model.arch
        options = {} if arch == OWN else changed_options(self.model.config, arch)
        model = {
            "arch": arch,
            "overrides": options,
            "config": {} if arch == OWN else dataclasses.asdict(self.model.config),
            **self.solved.to_json(),
            "preprocess": dataclasses.asdict(self.config.preprocessing),
            "classes": list(self.pipeline.source.classes),
        }
        return {
            "model": model,
            "config": self.config.to_json(),
            "data": self.pipeline.fingerprint,
            "kernels": str(self.kernels),
            "numerics": numerics(),
            "total_steps": self.total_steps,
        }


def abstract_state(train_step: TrainStep, params: Params, mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state that belongs to abstract parameters."""
    bare = jax.eval_shape(train_step.init, params)
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        bare,
        state_shardings(bare, mesh, train_step.config.mesh),
    )
