"""Compile time and step time of unrolled against scanned blocks, on this machine's devices.

usage: python tools/benchmark_scan.py [--depth 50] [--width 0.25] [--batch-size 32] [--json]

Prints seconds to compile a gradient and the median milliseconds of one, for 32 x 32 images.
"""

import argparse
import json
import statistics
import time

import jax
import jax.numpy as jnp

from zoo.models import create_model, merge, split

REPEATS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=50, help="depth of the vanilla ResNet")
    parser.add_argument("--width", type=float, default=0.25, help="factor of all channel counts")
    parser.add_argument("--batch-size", type=int, default=32, help="images a step")
    parser.add_argument("--json", action="store_true", help="one JSON value as the last line")
    args = parser.parse_args()
    rows = {form: _measure(args, scan=form == "scanned") for form in ("unrolled", "scanned")}
    device = jax.devices()[0].device_kind
    result = {"device": device, "jax": jax.__version__, "n": REPEATS, **rows}
    result["step_ratio"] = rows["scanned"]["step_ms"] / rows["unrolled"]["step_ms"]
    print(json.dumps(result) if args.json else json.dumps(result, indent=1))


def _measure(args: argparse.Namespace, *, scan: bool) -> dict[str, float]:
    arch = f"vanilla_resnet{args.depth}_tat_lrelu"
    model = create_model(arch, num_classes=10, stem="cifar", width=args.width, scan=scan)
    graphdef, params = split(model)
    images = jax.random.normal(jax.random.key(0), (args.batch_size, 32, 32, 3))

    @jax.jit
    def gradient(params: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return jax.grad(lambda p: jnp.mean(merge(graphdef, p)(images) ** 2))(params)

    started = time.perf_counter()
    compiled = gradient.lower(params).compile()
    compile_s = time.perf_counter() - started
    times = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        jax.block_until_ready(compiled(params))
        times.append(time.perf_counter() - started)
    return {"compile_s": compile_s, "step_ms": 1000 * statistics.median(times[1:])}


if __name__ == "__main__":
    main()
