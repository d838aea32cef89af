"""Why a run cannot go on: the first layer that is not finite, or too little memory."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from zoo.models import Network, merge, part_index
from zoo.training.config import TrainConfig
from zoo.training.step import Batch, TrainState, TrainStep

# Options of a family with which a step needs less memory.
_SPARING = {"remat": "blocks", "dtype": "bfloat16"}


class NonFiniteError(ArithmeticError):
    """The loss, a gradient or an update is NaN or infinite.

    Attributes:
      step: number of updates before the step that failed.
      layer: first parameter, in forward order, whose gradient or update is not finite.
      exit_code: of the command line.
      together: all processes of the run raise it at the same step.
    """

    exit_code = 6
    together = True

    def __init__(self, message: str, *, step: int, layer: str):
        super().__init__(message)
        self.step = step
        self.layer = layer


class OutOfMemoryError(MemoryError):
    """The devices cannot hold the step of this run.

    Attributes:
      found: what was too much.
      changes: fields of the configuration and values with which it needs less, best first.
    """

    exit_code = 1

    def __init__(self, found: str, changes: dict[str, str]):
        advice = ", ".join(f"{field}={value}" for field, value in changes.items())
        super().__init__(f"{found}; set one of {advice}")
        self.found = found
        self.changes = changes


@contextlib.contextmanager
def memory_advice(config: TrainConfig) -> Iterator[None]:
    """Turns a device's lack of memory into an `OutOfMemoryError` that says what to change."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        parts, dtype = config.optimizer.accumulate_steps, config.model.precision
        size, options = config.data.batch_size, config.model.options
        changes = {"optimizer.accumulate_steps": str(2 * parts)}
        for option, value in _SPARING.items():
            if options.get(option, value) != value:
                changes[f"model.{option}"] = value
        changes["data.batch_size"] = str(max(size // 2, 1))
        raise OutOfMemoryError(
            f"out of device memory with data.batch_size={size} in {parts} "
            f"part{'s' if parts > 1 else ''} and model.dtype={dtype}",
            changes,
        ) from error


def non_finite_error(
    train_step: TrainStep, state: TrainState, batch: Batch, examples: list[int]
) -> NonFiniteError:
    """The error for a state that refused a step.

    Args:
      train_step: the step.
      state: its last finite state, which the failing step left as it was.
      batch: the batch of that step.
      examples: numbers of the batch's examples in the training data.
    """
    bad, maps = jax.device_get(jax.jit(_causes, static_argnums=0)(train_step, state, batch))
    model, layout = merge(train_step.graphdef, state.params), train_step.layout
    names = sorted(
        (name for name, is_bad in bad.items() if is_bad),
        key=lambda name: (part_index(layout, name) if layout else 0, name),
    )
    infos = model.feature_info if maps else ()
    stages = [info.name for info, is_bad in zip(infos, maps, strict=True) if is_bad]
    step, rate = int(state.step), float(train_step.schedule(state.step))
    layer = names[0] if names else "the sum of all norms"
    where = f", activations overflow from {stages[0]} on" if stages else ""
    shown = ", ".join(map(str, examples[:8])) + (", ..." if len(examples) > 8 else "")
    return NonFiniteError(
        f"step {step} is not finite: first in {layer}{where} ({len(names)} of {len(bad)} "
        f"gradients are bad) at learning rate {rate:.3g}, examples {shown}; lower the learning "
        "rate, warm up longer or set optimizer.clip_norm",
        step=step,
        layer=layer,
    )


def _causes(
    train_step: TrainStep, state: TrainState, batch: Batch
) -> tuple[dict[str, jax.Array], list[jax.Array]]:
    """Which gradients, and which feature maps, hold a value that is not finite."""
    gradients, *_ = train_step.gradients(state, batch)
    rate = train_step.schedule(state.step)
    images = train_step.config.preprocessing.normalize(batch["image"])
    model = merge(train_step.graphdef, state.params)
    maps = model.feature_maps(images) if isinstance(model, Network) else []
    bad = {name: _is_bad(value) | _is_bad(rate * value) for name, value in gradients.items()}
    return bad, [_is_bad(features) for features in maps]


def _is_bad(x: jax.Array) -> jax.Array:
    return ~jnp.all(jnp.isfinite(x))
