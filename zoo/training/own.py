"""Objects of the user's own, where a configuration would name something registered."""

import dataclasses

import optax

from zoo.classifier import OWN, Classifier
from zoo.data import Source
from zoo.training.decode import ConfigError
from zoo.training.objective import Loss, cross_entropy


@dataclasses.dataclass(frozen=True)
class Own:
    """What a run is made of.

    Attributes:
      classifier: what is trained, from the weights that it has.
      source: examples trained on.
      eval_source: examples evaluated on.
      optimizer: its updates are added as they are; None takes the configuration's.
      loss: of logits and targets, one per example.
    """

    classifier: Classifier
    source: Source
    eval_source: Source
    optimizer: optax.GradientTransformation | None = None
    loss: Loss = cross_entropy


def required(own: Own | None, field: str, value: str) -> None:
    """Refuses a name that stands for an object where there is none.

    Raises:
      ConfigError: if `value` is "own" and `own` is None.
    """
    if own is None and value == OWN:
        raise ConfigError(f"{field}={OWN!r} stands for an object of yours; call zoo.train with it")
