"""`train`: the user's own network, data and optimiser, in the loop that trains the zoo."""

import dataclasses
from pathlib import Path
from typing import Any

import optax

from zoo.classifier import OWN, Classifier
from zoo.data import Source
from zoo.data.holdout import holdout, remainder
from zoo.data.sources import SPLITS
from zoo.models import Network, changed_options
from zoo.training.config import TrainConfig
from zoo.training.decode import ConfigError
from zoo.training.loop import FitResult, fit
from zoo.training.model_config import NOT_OPTIONS, ModelConfig
from zoo.training.objective import Loss, cross_entropy
from zoo.training.own import Own


def train(
    classifier: Classifier,
    source: Source,
    optimizer: optax.GradientTransformation | None = None,
    *,
    workdir: str | Path,
    config: TrainConfig,
    eval_source: Source | None = None,
    loss: Loss = cross_entropy,
    **options: Any,
) -> FitResult:
    """Trains a classifier on a source, from the weights that it has.

      train(classifier, source, optax.adamw(1e-3), workdir="runs/mine", config=TrainConfig(500))

    Batches, augmentation, averaging, evaluation, log, checkpoints and going on after an
    interruption are those of `fit`; only what `config` names of model, data, preprocessing and
    optimiser is replaced by the objects. Called again with the same objects and `workdir`, a run
    that was stopped goes on, and a finished one gives its result.

    Args:
      classifier: any NNX module images -> logits whose state is `nnx.Param` and `nnx.BatchStat`,
        with its preprocessing; shaped by `zoo.shape` or not, registered or not.
      source: training examples: anything with `classes`, `len` and `[index]` (`zoo.data.Source`).
      optimizer: an optax transformation, learning rate and schedule included; None takes
        `config.optimizer` and `config.schedule`.
      workdir: run directory.
      config: everything else, such as steps, batch size and seed.
      eval_source: examples to evaluate on; None holds a part of `source` out and does not train
        on it.
      loss: of logits [batch, classes], float32, and targets [batch, classes], one per example.
      **options: what else `fit` takes.

    Raises:
      ConfigError: with every mistake of the configuration, or for another number of classes.
    """
    if eval_source is None:
        source, eval_source = remainder(source), holdout(source)
    split = eval_source.split if eval_source.split in SPLITS else "test"
    named = dataclasses.replace(
        config,
        model=_model_config(classifier),
        data=dataclasses.replace(config.data, name=OWN),
        preprocessing=classifier.preprocess,
        optimizer=config.optimizer
        if optimizer is None
        else dataclasses.replace(config.optimizer, name=OWN),
        eval=dataclasses.replace(config.eval, split=split),
    )
    if classifier.classes and tuple(classifier.classes) != tuple(source.classes):
        raise ConfigError(
            f"{source.name} has the classes {', '.join(source.classes[:5])}, the classifier "
            f"{', '.join(classifier.classes[:5])}; give one that has the data's"
        )
    own = Own(classifier, source, eval_source, optimizer, loss)
    return fit(named, workdir, own=own, initial_params=classifier.split()[1], **options)


def _model_config(classifier: Classifier) -> ModelConfig:
    """The id and options of a registered network; of others, that it is the user's own."""
    arch = classifier.provenance.arch
    if not arch or not isinstance(classifier.network, Network):
        return ModelConfig(OWN)
    options = changed_options(classifier.config, arch)
    return ModelConfig(arch, **{n: v for n, v in options.items() if n not in NOT_OPTIONS})
