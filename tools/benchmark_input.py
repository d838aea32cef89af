"""Speed of the training input: images a second and core of random-resized crops from JPEG files.

  tar xf sample.tar -C photos/train   # one folder per class
  python tools/benchmark_input.py photos --peer-python ~/torch/bin/python

Compares, in interleaved rounds over the same files: a plain loop over Pillow (decode, crop, resize,
normalise), torchvision where --peer-python has it, and the batches of `TrainPipeline` as a Grain
worker makes them, by both of its decoders (flipped; normalising is part of the step on the device).
Rates are images by processor seconds of all processes involved, so that other work on the machine
matters little; medians of the rounds. --json prints one JSON object as the last line.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from zoo.bench.running import processor_name
from zoo.common.console import quiet_pipe
from zoo.data import Augmentation, Preprocessing, TrainPipeline, open_source
from zoo.data.augmentation import crop_box
from zoo.data.fast_decode import missing_libraries
from zoo.data.preprocessing import INTERPOLATIONS

AREA = (0.08, 1.0)
BATCH = 64
BUFFERED = 5  # batches that may lie ready at the start of a round
PEER = Path(__file__).with_name("torchvision_input.py")
PLAIN = "Pillow: a plain loop"

Round = Callable[[], dict[str, float]]
"""Makes the images of a round; gives the processor seconds by the name of the form."""


def main() -> None:
    given = _arguments()
    preprocessing = Preprocessing((given.size, given.size), interpolation=given.interpolation)
    source: Any = open_source(f"folder:{given.folder}", "train")
    images = given.batches * BATCH
    with contextlib.ExitStack() as stack:
        rounds: list[Round] = [_plain(source, preprocessing, images)]
        if given.peer_python:
            rounds.append(stack.enter_context(_peer(given, source.folder, images)))
        decoders = ["pillow"] if missing_libraries() else ["pillow", "fast"]
        for decoder in decoders:
            pipeline = TrainPipeline(
                source, preprocessing, Augmentation(flip=True, random_resized_crop=AREA),
                batch_size=BATCH, seed=0, workers=1, decoder=decoder,
            )  # fmt: skip
            rounds.append(stack.enter_context(_pipeline(pipeline, given.batches)))
        measured = [_merged(run() for run in rounds) for _ in range(given.rounds + 1)][1:]
    result = {
        "images": len(source),
        "size": given.size,
        "interpolation": given.interpolation,
        "rounds": given.rounds,
        "images_a_round": images,
        "processor": processor_name(),
        "load_average": os.getloadavg()[0],
        "images_per_second_and_core": {
            name: {
                "median": images / statistics.median(row[name] for row in measured),
                "lowest": images / max(row[name] for row in measured),
                "highest": images / min(row[name] for row in measured),
            }
            for name in measured[0]
        },
    }
    rates = result["images_per_second_and_core"]
    for name, rate in rates.items():
        ratio = rate["median"] / rates[PLAIN]["median"]
        print(f"{name:45}{rate['median']:8.0f} images/s and core   {ratio:5.2f} x the plain loop")
    if given.json:
        print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="its folder `train` holds a folder of JPEG files per class")
    parser.add_argument("--peer-python", help="a Python that has torch and torchvision")
    parser.add_argument("--size", type=int, default=224, help="side of the crops, in pixels")
    parser.add_argument("--interpolation", choices=INTERPOLATIONS, default="bicubic")
    parser.add_argument("--rounds", type=int, default=7, help="after one that does not count")
    parser.add_argument("--batches", type=int, default=6, help=f"of {BATCH} images a round")
    parser.add_argument("--json", action="store_true", help="one JSON object, last line of stdout")
    return parser.parse_args()


def _plain(source: Any, preprocessing: Preprocessing, images: int) -> Round:
    files = [source.encoded(index) for index in range(len(source))]
    generator, filter_ = np.random.default_rng(0), INTERPOLATIONS[preprocessing.interpolation]

    def run() -> dict[str, float]:
        started = time.process_time()
        for k in range(images):
            with Image.open(io.BytesIO(files[k % len(files)])) as opened:
                picture = opened.convert("RGB")
            top, left, height, width = crop_box(picture.height, picture.width, AREA, generator)
            crop = picture.crop((left, top, left + width, top + height))
            preprocessing.normalize(np.asarray(crop.resize(preprocessing.image_size, filter_)))
        return {PLAIN: time.process_time() - started}

    return run


@contextlib.contextmanager
def _peer(given: argparse.Namespace, folder: Path, images: int) -> Iterator[Round]:
    command = [given.peer_python, PEER, folder, str(given.size), given.interpolation, str(images)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run() -> dict[str, float]:
            assert process.stdin and process.stdout
            print("go", file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield run


@contextlib.contextmanager
def _pipeline(pipeline: TrainPipeline, batches: int) -> Iterator[Round]:
    before = {child.pid for child in psutil.Process().children()}
    endless: Any = pipeline.batches()
    with contextlib.closing(endless) as made:
        next(made)
        workers = [child for child in psutil.Process().children() if child.pid not in before]

        def seconds() -> float:
            times = [worker.cpu_times() for worker in workers]
            return time.process_time() + sum(t.user + t.system for t in times)

        def run() -> dict[str, float]:
            for worker in workers:
                worker.resume()
            for _ in range(BUFFERED):
                next(made)
            started = seconds()
            for _ in range(batches):
                next(made)
            spent = seconds() - started
            for worker in workers:
                worker.suspend()
            return {f"Grain worker, decoder {pipeline.decoder}": spent}

        yield run
        for worker in workers:
            worker.resume()


def _merged(parts: Iterator[dict[str, float]]) -> dict[str, float]:
    return {name: seconds for part in parts for name, seconds in part.items()}


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
