"""Speed of training on this machine's devices: batches from the host, data on the device, and that
in dispatches of several steps.

  python tools/benchmark_training.py
  python tools/benchmark_training.py --data cifar10 --data-dir ~/data --depth 50 --width 0.25 \\
    --batch-size 256 --dtype bfloat16 --steps 100 --profile trace

Medians of images/s, and which share of the rate of a plain matrix product, measured in the same run
in the same dtype, the model's own arithmetic is: 6 x multiply-accumulates per image and step,
forward and backward. Nothing is recomputed or counted twice.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

from zoo.common.console import quiet_pipe
from zoo.complexity import count_macs
from zoo.data import Augmentation, Preprocessing
from zoo.training import (
    DIGITS_PREPROCESSING,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    prepare,
    validate,
)
from zoo.training.prefetch import prefetched

_FLOPS_PER_MAC_AND_STEP = 6
_PREPROCESSING = {"digits": DIGITS_PREPROCESSING, "cifar10": Preprocessing((32, 32))}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=_PREPROCESSING, default="digits")
    parser.add_argument("--data-dir", help="where the data set's files are")
    parser.add_argument("--depth", type=int, default=18, help="depth of the vanilla ResNet")
    parser.add_argument("--width", type=float, default=0.125, help="factor of all channel counts")
    parser.add_argument("--batch-size", type=int, default=128, help="images a step")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--steps-per-dispatch", type=int, default=25, help="of the last form")
    parser.add_argument("--steps", type=int, default=25, help="a round")
    parser.add_argument("--rounds", type=int, default=5, help="after one that does not count")
    parser.add_argument("--matrix-size", type=int, help="rows of the square matrices")
    parser.add_argument("--profile", help="folder for a trace of one round of the last form")
    parser.add_argument("--json", action="store_true", help="one JSON object, last line of stdout")
    given = parser.parse_args()
    peak = matrix_rate(given)
    forms = {
        "host": (False, None),
        "resident": (True, 1),
        f"resident, {given.steps_per_dispatch} steps a dispatch": (True, given.steps_per_dispatch),
    }
    rows = {}
    for name, (resident, steps) in forms.items():
        traced = given.profile if name == list(forms)[-1] else None
        rows[name] = measure(given, configuration(given, resident, steps), traced)
        rows[name]["share_of_matrix_rate"] = rows[name]["flop_per_second"] / peak
    described = {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "load": os.getloadavg()[0],
        "rounds": given.rounds,
        "steps": given.steps,
        "dtype": given.dtype,
        "matrix_flop_per_second": peak,
        "forms": rows,
    }
    for name, row in rows.items():
        print(
            f"{name:<32} {row['images_per_second']:>12,.0f} images/s "
            f"({row['slowest']:,.0f} to {row['fastest']:,.0f}), "
            f"{100 * row['share_of_matrix_rate']:.2f} % of {peak / 1e9:,.0f} GFLOP/s, "
            f"compiled in {row['compile_seconds']:.1f} s"
        )
    if given.json:
        print(json.dumps(described))


def configuration(given: argparse.Namespace, resident: bool, steps: int | None) -> TrainConfig:
    """The run that is measured: crop and flip, SGD."""
    config = TrainConfig(
        steps=1,
        steps_per_dispatch=steps,
        model=ModelConfig(
            f"vanilla_resnet{given.depth}_tat_lrelu",
            stem="cifar",
            width=given.width,
            dtype=given.dtype,
        ),
        data=DataConfig(
            given.data, data_dir=given.data_dir, batch_size=given.batch_size, resident=resident
        ),
        preprocessing=_PREPROCESSING[given.data],
        augmentation=Augmentation(crop_padding=1, flip=True),
        optimizer=OptimizerConfig("sgd", learning_rate=0.01, clip_norm=1.0),
    )
    # The evaluation's batch size is not used here; it only has to divide among the devices.
    config = dataclasses.replace(
        config, eval=dataclasses.replace(config.eval, batch_size=given.batch_size)
    )
    validate(config, device_count=jax.device_count())
    return config


def measure(given: argparse.Namespace, config: TrainConfig, trace: str | None) -> dict[str, Any]:
    """Images per second over rounds of `--steps` steps, each waited for to its end."""
    run = prepare(config)
    size, channels = config.preprocessing.image_size, config.preprocessing.channels
    macs = count_macs(run.model, (*size, channels))
    state, (step, compile_seconds) = run.initial_state(), run.compile()
    rates = []
    with prefetched(run.batches(0), depth=2 * run.steps_per_dispatch) as batches:
        for number in range(given.rounds + 1 + bool(trace)):
            traced = trace if number > given.rounds else None
            with jax.profiler.trace(traced) if traced else contextlib.nullcontext():
                started, left = time.perf_counter(), given.steps
                while left > 0:
                    count = min(left, run.steps_per_dispatch)
                    state, _ = step(state, run.place(run.gather(batches, count)))
                    left -= count
                jax.block_until_ready(state)
                seconds = time.perf_counter() - started
            if 0 < number <= given.rounds:
                rates.append(given.steps * config.data.batch_size / seconds)
    median = statistics.median(rates)
    return {
        "images_per_second": median,
        "slowest": min(rates),
        "fastest": max(rates),
        "flop_per_second": _FLOPS_PER_MAC_AND_STEP * macs * median,
        "compile_seconds": compile_seconds,
    }


def matrix_rate(given: argparse.Namespace) -> float:
    """Floating-point operations per second of a square matrix product on all devices, median."""
    n = given.matrix_size or (1024 if jax.default_backend() == "cpu" else 8192)
    a = jnp.ones((n, n), given.dtype)
    product = jax.jit(lambda a, b: a @ b)
    rates = []
    for number in range(given.rounds + 1):
        started = time.perf_counter()
        b = a
        for _ in range(10):
            b = product(a, b)
        jax.block_until_ready(b)
        if number:
            rates.append(10 * 2 * n**3 / (time.perf_counter() - started))
    return statistics.median(rates) * jax.device_count()


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
