"""One training step: a pure function (state, batch) -> (state, metrics).

Owns the state, the loss and the update. Compilation, devices and the loop are elsewhere.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from zoo.cpu.sums import norm, whole_mean
from zoo.models import Layout, Network, Params, merge, split, train_statistics
from zoo.models.layers import pooled_statistics
from zoo.training.config import TrainConfig
from zoo.training.curvature import Curvature, fisher_statistics, watch
from zoo.training.objective import Loss, cross_entropy, regularized
from zoo.training.optimizer import OPTIMIZERS, make_optimizer, update_average
from zoo.training.schedule import Schedule

Batch = dict[str, jax.Array]
Metrics = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that a checkpoint holds of a run.

    Attributes:
      step: number of updates made, int32.
      params: all parameters by name.
      opt_state: what the optimiser keeps, of the trained parameters only.
      ema: float32 averages of the parameters (of frozen ones a copy), or None.
      finite: False once a step met a loss, gradient or update that is not finite. That step and
        all later ones leave the state as it was, so that the cause can still be computed.
    """

    step: jax.Array
    params: Params
    opt_state: Any
    ema: Params | None
    finite: jax.Array

    @property
    def inference_params(self) -> Params:
        """The parameters to evaluate and publish: averaged where there are averages."""
        if self.ema is None:
            return self.params
        return {name: self.ema[name].astype(value.dtype) for name, value in self.params.items()}


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """The step of one run; `train_step(state, batch)` is pure and made for `jax.jit`.

    A batch is split into `accumulate_steps` parts that are scanned over and whose gradients are
    averaged. One step stays one batch and one update: schedule, resume and log know nothing of it.

    Attributes:
      config: of the run.
      graphdef: structure of the network, from `zoo.models.split`.
      num_classes: outputs of the network.
      schedule: learning rate of a step.
      trained: names of the parameters that are updated; all others stay bit for bit.
      statistics: names of the running averages that are updated; their layers normalise by the
        batch, over all devices, all others by the averages they hold.
      layout: parts of the network, for what treats its layers differently.
      own_optimizer: takes the place of the configuration's; its updates are added as they are.
      loss: of logits [batch, classes], float32, and targets [batch, classes]; one per example.
      used_shardings: how parameters lie while gradients are computed; None: as they are stored.
    """

    config: TrainConfig
    graphdef: nnx.GraphDef
    num_classes: int
    schedule: Schedule
    trained: frozenset[str]
    statistics: frozenset[str] = frozenset()
    layout: Layout = ()
    own_optimizer: optax.GradientTransformation | None = None
    loss: Loss = cross_entropy
    used_shardings: Mapping[str, jax.sharding.Sharding] | None = dataclasses.field(
        default=None, hash=False
    )

    @property
    def optimizer(self) -> optax.GradientTransformationExtraArgs:
        """Direction of the update; see `make_optimizer`."""
        if self.own_optimizer is not None:
            return optax.with_extra_args_support(self.own_optimizer)
        return make_optimizer(self.config.optimizer, self.layout)

    @property
    def needs_curvature(self) -> bool:
        """Whether the optimiser takes what `fisher_statistics` measures."""
        named = OPTIMIZERS.get(self.config.optimizer.name)
        return self.own_optimizer is None and named is not None and named.needs_curvature

    def init(self, params: Params) -> TrainState:
        """The state before the first step."""
        trained, _ = self._part(params)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=self.optimizer.init(trained),
            ema=_float32(params) if self.config.ema_decay is not None else None,
            finite=jnp.ones((), jnp.bool_),
        )

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """One update.

          p <- p - rate(step) direction(gradient of mean_i CE(target_i, softmax(logits_i)))

        with the network's own penalty added to the mean, and what its `after_step` sets.

        Args:
          state: before the step.
          batch: "image" [batch, height, width, channel] uint8 and "label" [batch] int32.

        Returns:
          The state after the step, and scalars: loss, top1 (of the images as trained on), norms
          of gradient (before clipping), update and parameters, learning rate. With
          `log.layer_norms` also "layers": the same norms per parameter, and the root mean square
          of the output of every block.
        """
        rate = self.schedule(state.step)
        with jax.default_matmul_precision(self.config.precision):
            gradients, measured, curvature, statistics = self.gradients(state, batch)
            before, _ = self._part(state.params)
            found = self.optimizer.update(
                gradients, state.opt_state, before, curvature=curvature, learning_rate=rate
            )
        direction, opt_state = cast(tuple[Params, Any], found)
        updates = {name: rate * direction[name].astype(jnp.float32) for name in before}
        trained = {name: p + updates[name].astype(p.dtype) for name, p in before.items()}
        norms = _norms(gradient=gradients, update=updates, parameter=trained)
        metrics: Metrics = {**measured, **norms, "learning_rate": rate}
        changed = {**trained, **statistics}
        changed |= self._set_by_family(state, {**state.params, **changed}, gradients)
        new = TrainState(
            step=state.step + 1,
            params={**state.params, **changed},
            opt_state=opt_state,
            ema=self._average(state, changed),
            finite=jnp.ones((), jnp.bool_),
        )
        values = (measured["loss"], *norms.values())
        finite = state.finite & jnp.all(jnp.stack([jnp.isfinite(value) for value in values]))
        new = jax.tree.map(lambda new, old: jnp.where(finite, new, old), new, state)
        if self.config.log.layer_norms:
            metrics["layers"] = {
                **_layer_norms(gradients, updates, trained),
                "activation": self._activation_sizes(state.params, batch),
            }
        return dataclasses.replace(new, finite=finite), metrics

    def gradients(
        self, state: TrainState, batch: Batch
    ) -> tuple[Params, Metrics, Curvature, Params]:
        """What one batch says at `state`, without an update.

        In parts, each is normalised by itself; the statistics are those of all parts together.

        Returns:
          Gradients of the trained parameters, loss and top1, what K-FAC measures (of other
          optimisers nothing), and the new running averages.
        """
        image_key, dropout_key = jax.random.split(
            jax.random.fold_in(jax.random.key(self.config.seed), state.step)
        )
        images, targets = self.inputs(image_key, batch)
        trained, frozen = self._part(self._gathered(state.params))
        parts = self.config.optimizer.accumulate_steps

        def one(index: jax.Array, images: jax.Array, targets: jax.Array, labels: jax.Array) -> Any:
            key = jax.random.fold_in(dropout_key, index)
            loss = jax.value_and_grad(self._loss, has_aux=True)
            (value, (top1, new)), gradient = loss(trained, frozen, images, targets, labels, key)
            curvature = self._curvature(trained, frozen, images, key)
            return (gradient, {"loss": value, "top1": top1}, curvature), new

        if parts == 1:
            sums, statistics = one(jnp.zeros((), jnp.int32), images, targets, batch["label"])
            return *sums, statistics

        def add(total: Any, part: Any) -> tuple[Any, Params]:
            sums, statistics = one(*part)
            return jax.tree.map(jnp.add, total, sums), statistics

        examples = [_interleaved(x, parts) for x in (images, targets, batch["label"])]
        indices = jnp.arange(parts)
        first, _ = jax.eval_shape(one, indices[0], *(x[0] for x in examples))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first)
        total, statistics = jax.lax.scan(add, zeros, (indices, *examples))
        return *jax.tree.map(lambda leaf: leaf / parts, total), pooled_statistics(statistics)

    def inputs(self, key: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Normalised images and soft targets [batch, classes] of a batch, mixed and erased."""
        images = self.config.preprocessing.normalize(batch["image"])
        settings = self.config.regularization
        return regularized(settings, key, images, batch["label"], self.num_classes)

    def _loss(
        self,
        trained: Params,
        frozen: Params,
        images: jax.Array,
        targets: jax.Array,
        labels: jax.Array,
        key: jax.Array,
    ) -> tuple[jax.Array, tuple[jax.Array, Params]]:
        model = merge(self.graphdef, {**frozen, **trained})
        train_statistics(model, self.statistics)
        logits = self._logits(model, images, key)
        losses = self.loss(logits.astype(jnp.float32), targets)
        top1 = jnp.mean(jnp.argmax(logits, axis=-1) == labels, dtype=jnp.float32)
        statistics = {n: value for n, value in split(model)[1].items() if n in self.statistics}
        penalty = model.penalty() if isinstance(model, Network) else 0.0
        return losses.mean() + penalty, (top1, statistics)

    def _set_by_family(self, state: TrainState, after: Params, gradients: Params) -> Params:
        model = merge(self.graphdef, after)
        if not isinstance(model, Network):
            return {}
        return model.after_step(state.step, state.params, after, gradients)

    def _logits(self, model: Network, images: jax.Array, key: jax.Array) -> jax.Array:
        drops = self.config.model.options.get("dropout_rate")
        return model(images, dropout_key=key) if drops else model(images)

    def _curvature(
        self, trained: Params, frozen: Params, images: jax.Array, key: jax.Array
    ) -> Curvature:
        if not self.needs_curvature:
            return {}

        def logits_of(trained: Params, moments: Curvature) -> jax.Array:
            model = merge(self.graphdef, {**frozen, **trained})
            watch(model, moments)
            return self._logits(model, images, key)

        draw = functools.partial(jax.random.categorical, jax.random.fold_in(key, 1))
        return fisher_statistics(logits_of, trained, draw)

    def _activation_sizes(self, params: Params, batch: Batch) -> Params:
        images = self.config.preprocessing.normalize(batch["image"])
        outputs = merge(self.graphdef, params).block_outputs(images)
        return {name: jnp.sqrt(whole_mean(x**2)) for name, x in _float32(outputs).items()}

    def _average(self, state: TrainState, changed: Params) -> Params | None:
        if self.config.ema_decay is None or state.ema is None:
            return None
        averages = {name: state.ema[name] for name in changed}
        new = update_average(averages, changed, self.config.ema_decay, state.step)
        return {**state.ema, **new}

    def _gathered(self, params: Params) -> Params:
        if self.used_shardings is None:
            return params
        place = jax.lax.with_sharding_constraint
        return {name: place(value, self.used_shardings[name]) for name, value in params.items()}

    def _part(self, params: Params) -> tuple[Params, Params]:
        """Trained and frozen parameters."""
        trained = {name: value for name, value in params.items() if name in self.trained}
        return trained, {name: v for name, v in params.items() if name not in self.trained}


def _interleaved(x: jax.Array, parts: int) -> jax.Array:
    # Part a takes examples a, a + parts, ...: contiguous parts would each lie on few devices.
    return jnp.moveaxis(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 1, 0)


def _norms(**trees: Params) -> dict[str, jax.Array]:
    return {f"{name}_norm": norm(tree) for name, tree in trees.items()}


def _layer_norms(gradients: Params, updates: Params, params: Params) -> Metrics:
    def norms(values: Params) -> Params:
        return {name: norm(value) for name, value in values.items()}

    return {"gradient": norms(gradients), "update": norms(updates), "parameter": norms(params)}


def _float32(params: Params) -> Params:
    return {name: value.astype(jnp.float32) for name, value in params.items()}
