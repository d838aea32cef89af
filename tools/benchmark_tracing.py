"""Times reading networks and solving for them, in seconds of one core: the first run, then the
median of others.

    python tools/benchmark_tracing.py [--repeats 3] [--json]

The promises: vanilla_resnet200 traced under 3 s, 1,000 dense layers under 10 s, cost linear in the
layers, the maximum over all subnetworks of a graph of 500 nodes under 1 s.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # read when numpy is imported

import jax.numpy as jnp  # noqa: E402

from zoo.common.console import quiet_pipe  # noqa: E402
from zoo.models import create_model, graph_of  # noqa: E402
from zoo.shaping import TAT, GraphBuilder, KernelGraph, ShapedActivation, kernel_graph  # noqa: E402
from zoo.shaping.solved import solve_once  # noqa: E402

_LAYERS = (125, 250, 500, 1000)


def mlp(layers: int) -> KernelGraph:
    activation, weights = ShapedActivation("tanh"), [jnp.ones((8, 8)) for _ in range(layers)]

    def forward(x):
        for weight in weights:
            x = activation(x @ weight)
        return x

    return kernel_graph(forward, (1, 8))


def shortcuts(nodes: int) -> KernelGraph:
    builder = GraphBuilder()
    x = builder.input
    while len(builder.depths) < nodes:
        x = builder.mix({x: 0.8, builder.nonlinear(builder.nonlinear(x)): 0.6})
    return builder.graph(x)


def cpu_seconds(run: Callable[[], object], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object as last line")
    arguments = parser.parse_args()
    method = TAT()
    model = create_model("vanilla_resnet200_tat_lrelu", activation=method.unsolved, abstract=True)
    graph, large = graph_of(model), shortcuts(500)
    tasks = {
        "trace_vanilla_resnet200": lambda: graph_of(model),
        **{f"trace_mlp_{n}": lambda n=n: mlp(n) for n in _LAYERS},
        "maximum_500_nodes": lambda: large.maximum(0.0, lambda y: y + 1),
        "solve_vanilla_resnet200": lambda: method.solve(graph),
    }
    first, median = {}, {}
    for name, run in tasks.items():
        # The first run also fills JAX's caches; the others, at least one, show what is left then.
        first[name], *others = cpu_seconds(run, 1 + arguments.repeats)
        median[name] = statistics.median(others)
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"ZOO_CACHE": folder, "ZOO_SOLVED_CACHE": "1"}
        name = "solve_once_vanilla_resnet200"
        times = cpu_seconds(lambda: solve_once(method, graph), 1 + arguments.repeats)
        first[name], median[name] = times[0], statistics.median(times[1:])
    for name, seconds in median.items():
        print(f"{first[name]:10.5f} s first, {seconds:10.5f} s then  {name}")
    per_layer = {n: median[f"trace_mlp_{n}"] / n for n in _LAYERS}
    for n, seconds in per_layer.items():
        print(f"{1e3 * seconds:10.3f} ms a layer of {n}")
    result = {
        "cpu_s_first": {name: round(s, 6) for name, s in first.items()},
        "cpu_s": {name: round(s, 6) for name, s in median.items()},
        "cpu_s_per_layer": {n: round(s, 7) for n, s in per_layer.items()},
        "n": arguments.repeats,
    }
    print(json.dumps(result) if arguments.json else "")


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
