"""The examples of a run, from its configuration alone: the split, and the order of its batches."""

import shlex
from pathlib import Path

from jax.sharding import Mesh

from zoo.data import Source, TrainPipeline, limit, open_source, subset
from zoo.processes.arrays import batch_part
from zoo.training.config import TrainConfig
from zoo.training.decode import ConfigError
from zoo.training.sharding import batch_sharding


def open_split(config: TrainConfig, split: str, size: int | None) -> Source:
    """One split of the run's data, of its classes only; `size` takes evenly spread ones."""
    data = config.data
    source = open_source(data.name, split, data_dir=data.data_dir, exclude=data.exclude)
    if config.data.classes:
        source = subset(source, config.data.classes)
    return source if size is None else limit(source, size)


def class_count(config: TrainConfig, source: Source) -> int:
    """Number of outputs of the network.

    Raises:
      ConfigError: if the configuration says otherwise than the data.
    """
    classes, weights = len(source.classes), len(config.regularization.class_weights)
    if config.model.num_classes not in (None, classes):
        raise ConfigError(
            f"model.num_classes={config.model.num_classes}, but {source.name} has {classes} "
            "classes; leave it None to take the data's"
        )
    if weights not in (0, classes):
        raise ConfigError(
            f"regularization.class_weights has {weights} numbers, but {source.name} has {classes} "
            "classes; give one for each or none"
        )
    return classes


def make_pipeline(config: TrainConfig, source: Source, mesh: Mesh) -> TrainPipeline:
    """The batches of this process: the part that its devices of the mesh work on."""
    part, parts = batch_part(batch_sharding(mesh), config.data.batch_size)
    return TrainPipeline(
        source,
        config.preprocessing,
        config.augmentation,
        batch_size=config.data.batch_size,
        seed=config.seed,
        workers=config.data.workers,
        process_index=part,
        process_count=parts,
        bad_examples=config.data.bad_examples,
        decoder=config.data.decoder,
    )


def evaluation_command(workdir: Path, config: TrainConfig, split_name: str) -> str:
    """The command that measures the run on a split of its data again."""
    words = ["zoo", "eval", str(workdir), "--data", config.data.name, "--split", split_name]
    if config.data.exclude:
        words += ["--bad-examples", "skip"]
    if config.data.data_dir is not None:
        words += ["--data-dir", config.data.data_dir]
    if config.data.classes:
        words += ["--classes", *config.data.classes]
    return shlex.join(words)
