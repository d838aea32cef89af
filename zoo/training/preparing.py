"""From names to objects: a configuration's data, network and optimiser made ready to run."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from zoo.data import Source
from zoo.data.resident import in_memory
from zoo.kernels import choose_kernels
from zoo.models import Network, Solved, fixed_of, split, statistics_of, variant_of
from zoo.training.config import TrainConfig
from zoo.training.curvature import check_layers
from zoo.training.decode import ConfigError
from zoo.training.examples import class_count, make_pipeline, open_split
from zoo.training.objective import cross_entropy
from zoo.training.own import Own, required
from zoo.training.run import Run
from zoo.training.schedule import make_schedule
from zoo.training.sharding import make_mesh, state_shardings, used_shardings
from zoo.training.step import TrainStep


def prepare(
    config: TrainConfig,
    *,
    solved: Solved | None = None,
    trainable: Callable[[str], bool] | None = None,
    own: Own | None = None,
) -> Run:
    """Opens the data and builds the abstract network; nothing is compiled.

    Args:
      config: already validated.
      solved: activations of before, for instance of a checkpoint; None solves for the network.
      trainable: of a parameter's name, whether it is trained; None takes `config.trainable`.
      own: objects in the place of what the configuration names.

    Raises:
      ConfigError: if the data's classes or size contradict the configuration, or nothing is left
        to train.
      NoKernelsError: if the configuration wants kernels that cannot be had here.
    """
    required(own, "data.name", config.data.name)
    source = own.source if own else open_split(config, config.data.split, config.data.limit)
    classes = class_count(config, source)
    mesh, total = make_mesh(config.mesh), config.total_steps(len(source))
    model, train_step = build_step(
        config, classes, total, mesh, solved=solved, trainable=trainable, own=own
    )
    if own:
        solved = own.classifier.solved
    return Run(
        config=config,
        pipeline=make_pipeline(config, source, mesh),
        eval_source=own.eval_source if own else _evaluated(config),
        model=model,
        solved=solved or Solved(model.activations, variant_of(config.model.arch).shaping),
        train_step=train_step,
        mesh=mesh,
        total_steps=total,
        kernels=choose_kernels(config.kernels, list(mesh.devices.flat)),
    )


def build_step(
    config: TrainConfig,
    num_classes: int,
    total_steps: int,
    mesh: Mesh,
    *,
    solved: Solved | None = None,
    trainable: Callable[[str], bool] | None = None,
    own: Own | None = None,
) -> tuple[Network, TrainStep]:
    """The abstract network and its step, for devices that need not be there.

    Raises:
      ConfigError: if nothing is left to train, or the optimiser does not fit the network.
    """
    required(own, "model.arch", config.model.arch)
    required(own, "optimizer.name", config.optimizer.name)
    model = (
        own.classifier.network
        if own
        else config.model.create(
            in_channels=config.preprocessing.channels,
            num_classes=num_classes,
            activation=solved.activations if solved else None,
            abstract=True,
        )
    )
    graphdef, params = split(model)
    selects = trainable or (lambda name: re.search(config.trainable, name) is not None)
    selected = frozenset(name for name in params if selects(name))
    statistics = selected & statistics_of(model)
    trained = selected - statistics - fixed_of(model)
    if not trained:
        raise ConfigError(
            f"trainable={config.trainable!r} selects no parameter of {config.model.arch}; the "
            f"first are {', '.join(list(params)[:4])}"
        )
    rate = config.optimizer.learning_rate
    step = TrainStep(
        config=config,
        graphdef=graphdef,
        num_classes=num_classes,
        schedule=_added_as_it_is
        if own and own.optimizer
        else make_schedule(config.schedule, rate, total_steps),
        trained=trained,
        statistics=statistics,
        layout=model.layout if isinstance(model, Network) else (),
        own_optimizer=own.optimizer if own else None,
        loss=own.loss if own else cross_entropy,
        used_shardings=used_shardings(state_shardings(params, mesh, config.mesh)),
    )
    if step.needs_curvature:
        check_layers(model, {name: params[name] for name in params if name in trained})
    return model, step


def _evaluated(config: TrainConfig) -> Source:
    source = open_split(config, config.eval.split, config.eval.limit)
    return in_memory(source, config.preprocessing) if config.data.resident else source


def _added_as_it_is(step: jax.Array) -> jax.Array:
    """The rate of updates that have theirs in them."""
    return jnp.ones((), jnp.float32)
