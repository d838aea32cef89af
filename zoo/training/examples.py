"""The examples of a run, from its configuration alone: the split, and the order of its batches."""

import jax

from zoo.data import Source, TrainPipeline, limit, open_source, subset
from zoo.training.config import TrainConfig


def open_split(config: TrainConfig, split: str, size: int | None) -> Source:
    """One split of the run's data, of its classes only, and of its first `size` examples."""
    source = open_source(config.data.name, split, data_dir=config.data.data_dir)
    if config.data.classes:
        source = subset(source, config.data.classes)
    return source if size is None else limit(source, size)


def make_pipeline(config: TrainConfig, source: Source) -> TrainPipeline:
    """The batches of this process."""
    return TrainPipeline(
        source,
        config.preprocessing,
        config.augmentation,
        batch_size=config.data.batch_size,
        seed=config.seed,
        workers=config.data.workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        bad_examples=config.data.bad_examples,
        decoder=config.data.decoder,
    )
