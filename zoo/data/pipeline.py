"""Training batches: a pure function of (seed, step).

The only module that uses Grain, and only when worker processes are asked for. Evaluation batches
are made in `zoo.data.eval_pipeline`.
"""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from zoo.data.augmentation import Augmentation, crop_box
from zoo.data.decode import BadImageError, is_turned
from zoo.data.eval_pipeline import (
    Batch,
    check_split,
    eval_batches,
    is_upright,
    named_bad_image,
    read_example,
    stored_frames,
)
from zoo.data.fast_decode import crop_of_jpeg, missing_libraries
from zoo.data.preprocessing import Preprocessing
from zoo.data.random_bits import (
    SEED_LIMIT,
    STREAM_RESIZED_CROP,
    epoch_order,
    example_generator,
)
from zoo.data.records import Source, encoded_record

__all__ = ["BAD_EXAMPLE_POLICIES", "TRANSFORMS_VERSION", "Batch", "TrainPipeline", "eval_batches"]

# Raise it when the same settings give other batches than before: then runs refuse to resume.
TRANSFORMS_VERSION = 1

# Grain needs an end; no run reaches it.
_LAST_STEP = 2**40

BAD_EXAMPLE_POLICIES = ("error", "skip")
DECODERS = ("pillow", "fast")


class TrainPipeline:
    """Training batches by step number.

    Example k of the whole run, k = step * batch_size + position, is number k mod n of the order
    of epoch k // n. A batch may span two epochs and nothing is dropped. Process p of P holds the
    p-th of P equal, contiguous parts of each batch.

    Args:
      source: the training split.
      preprocessing: gives size and channels.
      augmentation: random changes; none when None.
      batch_size: examples per step over all processes.
      seed: of order and augmentation, in [0, 2**32).
      workers: processes that prepare batches for `batches`; 0 works in this process. They are
        started afresh, so a script that asks for them needs `if __name__ == "__main__":`.
      process_index: number of this process, `process_count`: how many share a batch.
      bad_examples: "error" stops at an image that cannot be read; "skip" takes the next example
        of the source in its place and notes the bad one in `skipped`.
      max_skipped: more different bad examples than this stop the run.
      decoder: "pillow" decodes whole images; "fast" makes random-resized crops of JPEG files by
        `zoo.data.fast_decode`, and everything else as before.

    Raises:
      ValueError: if an argument is out of range, naming it.
    """

    def __init__(
        self,
        source: Source,
        preprocessing: Preprocessing,
        augmentation: Augmentation | None = None,
        *,
        batch_size: int,
        seed: int,
        workers: int = 0,
        process_index: int = 0,
        process_count: int = 1,
        bad_examples: str = "error",
        max_skipped: int = 100,
        decoder: str = "pillow",
    ) -> None:
        check_split(source, batch_size, process_index, process_count)
        if not 0 <= seed < SEED_LIMIT:
            raise ValueError(f"seed is {seed}, allowed is 0 <= seed < 2**32")
        if workers < 0:
            raise ValueError(f"workers is {workers}, allowed is 0 (this process) or more")
        if bad_examples not in BAD_EXAMPLE_POLICIES:
            raise ValueError(
                f"bad_examples is {bad_examples!r}, allowed: {', '.join(BAD_EXAMPLE_POLICIES)}"
            )
        if decoder not in DECODERS:
            raise ValueError(f"decoder is {decoder!r}, allowed: {', '.join(DECODERS)}")
        missing = missing_libraries() if decoder == "fast" else []
        if missing:
            raise ValueError(
                f"decoder='fast' needs {' and '.join(missing)}: pip install "
                "'flax-vanilla-zoo[fast]', or take decoder='pillow'"
            )
        self.source, self.preprocessing, self.decoder = source, preprocessing, decoder
        self.augmentation = augmentation or Augmentation()
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        self.process_index, self.process_count = process_index, process_count
        self.bad_examples, self.max_skipped = bad_examples, max_skipped
        self._skipped: set[int] = set()

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the batches, as a JSON object; equal means the same batches."""
        decides = {
            "source": self.source.name,
            "split": self.source.split,
            "content": self.source.fingerprint,
            "size": len(self.source),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "augmentation": dataclasses.asdict(self.augmentation),
            "bad_examples": self.bad_examples,
            "transforms_version": TRANSFORMS_VERSION,
        }
        if self.decoder != "pillow":
            decides["decoder"] = self.decoder
        if is_upright(self.source, self.preprocessing):
            decides["upright"] = True
        return json.loads(json.dumps(decides))

    @property
    def skipped(self) -> tuple[int, ...]:
        """Numbers of the source's examples that were left out as unreadable so far, sorted."""
        return tuple(sorted(self._skipped))

    def batch(self, step: int) -> Batch:
        """The batch of one step; any step, in any order, always the same.

        Returns:
          image: [batch_size / process_count, height, width, channels] uint8; label: int32;
          index: int64, the example's number in the source.

        Raises:
          ValueError: if step < 0.
          BadImageError: if an image cannot be read (see `bad_examples`).
        """
        return self._note_skipped(step, self._make(step))

    def batches(self, start_step: int = 0) -> Iterator[Batch]:
        """`batch(start_step)`, `batch(start_step + 1)`, ... without end, made by `workers`.

        Closing the iterator, or dropping it, ends the workers.
        """
        if not self.workers:
            yield from map(self.batch, itertools.count(start_step))
        with contextlib.closing(self._made_by_workers(start_step)) as made:
            for step, batch in zip(itertools.count(start_step), made, strict=False):
                yield self._note_skipped(step, batch)

    def order(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Example numbers and epochs, int64 [local batch] each, that `step` asks for."""
        if step < 0:
            raise ValueError(f"step is {step}, allowed is 0 or more")
        local = self.batch_size // self.process_count
        first = step * self.batch_size + self.process_index * local
        positions = np.arange(first, first + local, dtype=np.int64)
        epochs, places = np.divmod(positions, len(self.source))
        indices = np.empty(local, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            indices[here] = epoch_order(self.seed, int(epoch), len(self.source))[places[here]]
        return indices, epochs

    def _make(self, step: int) -> Batch:
        indices, epochs = self.order(step)
        stored = stored_frames(self.source, self.preprocessing)
        if stored is not None and self.augmentation.random_resized_crop is None:
            frames, labels = stored[0][indices], stored[1][indices]
        else:
            examples = [
                self._example(int(index), int(epoch))
                for index, epoch in zip(indices, epochs, strict=True)
            ]
            frames = np.stack([frame for frame, _, _ in examples])
            labels = np.asarray([label for _, label, _ in examples], np.int32)
            indices = np.asarray([index for _, _, index in examples], np.int64)
        augmented = self.augmentation.batch(frames, self.seed, epochs, indices)
        return {"image": augmented, "label": labels, "index": indices}

    def _example(self, index: int, epoch: int) -> tuple[np.ndarray, int, int]:
        """Frame, label and number of example `index` or, skipping, of the next readable one."""
        number = index
        for _ in range(min(len(self.source), self.max_skipped + 1)):
            try:
                return *self._frame(number, epoch), number
            except BadImageError as error:
                if self.bad_examples == "error":
                    named = named_bad_image(self.source, number, error)
                    advice = "bad_examples='skip' would train without it"
                    raise BadImageError(f"{named}; {advice}") from error
                number = (number + 1) % len(self.source)
        raise BadImageError(
            f"{self.source.name}: none of the examples {index} to {number - 1} can be read, "
            f"allowed are {self.max_skipped} unreadable ones"
        )

    def _frame(self, number: int, epoch: int) -> tuple[np.ndarray, int]:
        """Frame and label of example `number`."""
        area = self.augmentation.random_resized_crop
        found = None
        if self.decoder == "fast" and area is not None:
            found = encoded_record(self.source, number)
        upright = is_upright(self.source, self.preprocessing)
        if area is not None and found is not None and not (upright and is_turned(found[0])):
            generator = example_generator(self.seed, epoch, number, STREAM_RESIZED_CROP)
            frame = crop_of_jpeg(
                found[0],
                lambda height, width: crop_box(height, width, area, generator),
                self.preprocessing,
            )
            if frame is not None:
                return frame, found[1]
        image, label = read_example(self.source, number, self.preprocessing)
        return self.augmentation.frame(image, self.preprocessing, self.seed, epoch, number), label

    def _note_skipped(self, step: int, batch: Batch) -> Batch:
        """Reads off a batch what was left out, so that work in other processes counts too."""
        asked, _ = self.order(step)
        changed = np.flatnonzero(asked != batch["index"])
        for first, used in zip(asked[changed], batch["index"][changed], strict=True):
            gap = int(used - first) % len(self.source)
            self._skipped.update(int(first + k) % len(self.source) for k in range(gap))
        if len(self._skipped) > self.max_skipped:
            raise BadImageError(
                f"{self.source.name}: {len(self._skipped)} unreadable examples, "
                f"allowed are {self.max_skipped}; first numbers: {self.skipped[:10]}"
            )
        return batch

    def _made_by_workers(self, start_step: int) -> Generator[Batch, None, None]:
        import grain
        from absl import flags

        # Grain reads absl flags, which nobody parses outside an absl application.
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        # An element is a whole batch, so the number of workers cannot change any.
        steps = grain.MapDataset.range(start_step, _LAST_STEP).map(self._make)
        reading = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        options = grain.MultiprocessingOptions(num_workers=self.workers, per_worker_buffer_size=2)
        made = iter(steps.to_iter_dataset(reading).mp_prefetch(options))
        try:
            for batch in made:
                # Grain's arrays lie in memory that it unmaps: a copy outlives them.
                yield {name: np.array(values) for name, values in batch.items()}
        finally:
            made.close()
