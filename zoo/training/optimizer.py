"""Optimisers by name: from gradients to a direction, which the step multiplies by its rate.

A direction is an optax transformation at learning rate 1. The rate comes from `schedule.py` as a
function of the state's step, so that no optimiser keeps a count of its own for it.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from zoo.cpu.sums import norm
from zoo.models import Layout, Params, all_layers, distance_to_head, rate_of
from zoo.training.kfac import scale_by_kfac
from zoo.training.norms import keep_filter_norms
from zoo.training.optimizer_config import OptimizerConfig
from zoo.training.soap import scale_by_soap

_MUON_RMS = 0.2
"""Root mean square of an AdamW update; scaling Muon's to it lets both share one learning rate
(arXiv 2502.16982, section 2.2)."""
_EMA_WARMUP = 10


def make_optimizer(
    config: OptimizerConfig, layout: Layout = ()
) -> optax.GradientTransformationExtraArgs:
    """The update direction of `config` on a flat dict of parameters, for learning rate 1.

      update = -rate(step) * direction;  this transformation returns -direction

    Gradients are clipped to `clip_norm` first. Decay touches the parameters of `decay_mask`. At
    the end every layer's direction is scaled by its `layer_multipliers`, and turned so that filters
    keep their norm (`keep_filter_norms`). What `scale_by_kfac` takes besides may be given to all.

    Args:
      config: which optimiser, and its numbers.
      layout: of the network, for `layer_decay` and the rates that its layers ask for.
    """
    parts = [OPTIMIZERS[config.name].make(config)]
    if config.clip_norm is not None:
        parts.insert(0, clip_by_norm(config.clip_norm))
    if config.layer_decay != 1 or any(layer.rate != 1 for layer in all_layers(layout)):
        parts.append(_scale_by_layer(layout, config.layer_decay))
    if config.keep_norms is not None:
        parts.append(keep_filter_norms(config.keep_norms))
    return optax.with_extra_args_support(parts[0] if len(parts) == 1 else optax.chain(*parts))


def clip_by_norm(largest: float) -> optax.GradientTransformation:
    """Shortens gradients whose norm over all parameters is above `largest` to that norm.

    As `optax.clip_by_global_norm`, whose norm loses digits on a processor (`zoo.cpu.sums`).
    """

    def clipped(updates: Any, params: Any) -> Any:
        length = norm(updates)
        scale = largest / jnp.maximum(length, largest)
        return jax.tree.map(lambda one: (one * scale).astype(one.dtype), updates)

    return optax.stateless(clipped)


def layer_multipliers(layout: Layout, names: Iterable[str], decay: float) -> dict[str, float]:
    """Factor on the learning rate of each parameter, from its distance and its layer's own rate.

      multiplier = rate decay^d,   d = number of blocks from the layer up to the head, itself too

    So d is 0 for the head (and a last normalisation), 1 for the last block, and one more for the
    stem than for the first block.

    Args:
      layout: of the network.
      names: of parameters, as `zoo.models.split` gives them.
      decay: in (0, 1].

    Source: Clark et al. 2020, ELECTRA, arXiv 2003.10555; Bao et al. 2021, BEiT, arXiv 2106.08254.
    """
    return {name: rate_of(layout, name) * decay ** distance_to_head(layout, name) for name in names}


def _scale_by_layer(layout: Layout, decay: float) -> optax.GradientTransformation:
    def scaled(updates: Any, params: Any) -> Any:
        factors = layer_multipliers(layout, updates, decay)
        return {name: factors[name] * update for name, update in updates.items()}

    return optax.stateless(scaled)


def decay_mask(params: Params, pattern: str) -> dict[str, bool]:
    """Which parameters decay: those whose name the regular expression `pattern` finds."""
    return {name: re.search(pattern, name) is not None for name in params}


def matrix_axes(params: Params) -> dict[str, contrib.MuonDimensionNumbers | None]:
    """How Muon sees each parameter as a matrix: all axes but the last against the last.

    A convolution kernel [height, width, inputs, outputs] is the matrix of its (height * width *
    inputs) x outputs; a head kernel is itself; biases are None and go to AdamW.
    """
    axes: dict[str, contrib.MuonDimensionNumbers | None] = {}
    for name, value in params.items():
        rank = getattr(value, "ndim", 0)  # optax also asks with biases masked out
        matrix = contrib.MuonDimensionNumbers(tuple(range(rank - 1)), (rank - 1,))
        axes[name] = matrix if rank >= 2 else None
    return axes


def update_average(average: Params, params: Params, decay: float, step: jax.Array) -> Params:
    """One step of the exponential moving average of the weights.

      e <- d e + (1 - d) p,   d = min(decay, (1 + t) / (10 + t))  at step t

    The cap lets a short run forget its initial weights.

    Args:
      average: e, float32.
      params: p after the update of step t.
      decay: in [0, 1).
      step: t, starting at 0.
    """
    t = step.astype(jnp.float32)
    d = jnp.minimum(decay, (1 + t) / (_EMA_WARMUP + t))
    return jax.tree.map(lambda e, p: e * d + p.astype(e.dtype) * (1 - d), average, params)


def _mask(config: OptimizerConfig) -> Callable[[Params], dict[str, bool]]:
    return lambda params: decay_mask(params, config.decay_pattern)


def _sgd(config: OptimizerConfig) -> optax.GradientTransformation:
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=_mask(config)),
        optax.sgd(1.0, momentum=config.momentum, nesterov=True),
    )


def _adamw(config: OptimizerConfig) -> optax.GradientTransformation:
    return optax.adamw(
        1.0,
        b1=config.momentum,
        b2=config.second_moment,
        weight_decay=config.weight_decay,
        mask=_mask(config),
    )


def _lamb(config: OptimizerConfig) -> optax.GradientTransformation:
    return optax.lamb(
        1.0,
        b1=config.momentum,
        b2=config.second_moment,
        weight_decay=config.weight_decay,
        mask=_mask(config),
    )


def _muon(config: OptimizerConfig) -> optax.GradientTransformation:
    return contrib.muon(
        1.0,
        beta=config.momentum,
        weight_decay=config.weight_decay,
        weight_decay_mask=_mask(config),
        adam_b1=config.momentum,
        adam_b2=config.second_moment,
        # pyrefly: ignore[bad-argument-type] optax's alias leaves None out, its docstring does not
        muon_weight_dimension_numbers=matrix_axes,
        consistent_rms=_MUON_RMS,
    )


def _kfac(config: OptimizerConfig) -> optax.GradientTransformation:
    kfac = config.kfac
    return optax.chain(
        optax.add_decayed_weights(config.weight_decay, mask=_mask(config)),
        scale_by_kfac(
            # Decay is part of the objective here, and its curvature is the identity.
            damping=kfac.damping + config.weight_decay,
            norm_constraint=kfac.norm_constraint,
            curvature_decay=kfac.curvature_decay,
            inverse_period=kfac.inverse_period,
            burnin_steps=kfac.burnin_steps,
        ),
        optax.sgd(1.0, momentum=config.momentum),
    )


def _soap(config: OptimizerConfig) -> optax.GradientTransformation:
    soap = config.soap
    return optax.chain(
        scale_by_soap(
            b1=config.momentum,
            b2=config.second_moment,
            preconditioner_decay=soap.preconditioner_decay,
            basis_period=soap.basis_period,
            largest_side=soap.largest_side,
        ),
        optax.add_decayed_weights(config.weight_decay, mask=_mask(config)),
        optax.scale(-1.0),
    )


class Optimizer(NamedTuple):
    """How a named optimiser is made, and what its `update` needs beside gradients.

    Attributes:
      make: its direction, from the numbers of a configuration.
      needs_curvature: whether it takes `curvature`, what `fisher_statistics` measures.
    """

    make: Callable[[OptimizerConfig], optax.GradientTransformation]
    needs_curvature: bool = False


OPTIMIZERS = {
    "sgd": Optimizer(_sgd),
    "adamw": Optimizer(_adamw),
    "lamb": Optimizer(_lamb),
    "muon": Optimizer(_muon),
    "kfac": Optimizer(_kfac, needs_curvature=True),
    "soap": Optimizer(_soap),
}
