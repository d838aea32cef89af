"""Times every recorded shaping problem on one core and compares with the recorded solutions.

    python tools/benchmark_shaping.py ../shared/golden/shaping.json [--json]

The promise: every solve under 50 ms, the whole file under 5 s of one core (`cpu`); `wall` says how
long it took next to whatever else the machine was doing.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # read when numpy is imported

from zoo.common.console import quiet_pipe  # noqa: E402
from zoo.shaping import DKS, TAT, GraphBuilder, KernelGraph, ShapedActivation, q_map  # noqa: E402

_OPTIONS = {
    "c_slope_1_target": "zeta",
    "local_q_slope_target": "q_slope",
    "c_val_0_target": "eta",
    "c_curve_target": "tau",
}


def resnet(table: dict, w: float, v2: bool) -> KernelGraph:
    per_branch = (3 if table["bottleneck"] else 2) - (0 if v2 else 1)
    builder = GraphBuilder()
    x = builder.input
    for blocks, projects in zip(table["blocks"], table["proj"], strict=True):
        for block in range(blocks):
            y = builder.nonlinear(x)
            shortcut = y if v2 and projects and block == 0 else x
            for _ in range(per_branch - 1):
                y = builder.nonlinear(y)
            x = builder.mix({shortcut: w, y: (1 - w**2) ** 0.5}) if w else y
            x = x if v2 else builder.nonlinear(x)
    return builder.graph(builder.nonlinear(x))


def graph_of(case: dict, tables: dict) -> KernelGraph:
    graph = case["graph"]
    if graph["kind"] == "vanilla":
        return KernelGraph.chain(graph["n"])
    return resnet(tables[str(graph["depth"])], graph["w"], graph["v2"])


def solve(case: dict, graph: KernelGraph) -> ShapedActivation:
    options = {_OPTIONS[name]: value for name, value in case["params"].items()}
    method = {"DKS": DKS, "TAT": TAT}[case["method"]](case["activation"], **options)
    return method.solve(graph, subnetworks="reference")


def compare(case: dict, solved: ShapedActivation) -> str:
    if "error" in case:
        return "solved, reference failed"
    recorded = case["params_out"]
    parameters = max(abs(getattr(solved, name) - value) for name, value in recorded.items())
    if parameters < 1e-6:
        return "parameters agree to 1e-6"
    maps = [abs(float(q_map(solved, float(q))) - v) for q, v in case["local_maps"]["Q"].items()]
    if max(maps) < 1e-6:
        return "Q maps agree to 1e-6"
    exact = case.get("max_abs_residual", 0) < 1e-6
    return "other root or kink" if exact else "reference inaccurate"


def summary(milliseconds: dict[str, float]) -> dict[str, float | str]:
    return {
        "median_ms": round(statistics.median(milliseconds.values()), 3),
        "max_ms": round(max(milliseconds.values()), 3),
        "slowest": max(milliseconds, key=lambda name: milliseconds[name]),
        "total_s": round(sum(milliseconds.values()) / 1e3, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("golden", type=Path, help="file of recorded solutions")
    parser.add_argument("--json", action="store_true", help="one JSON object as last line")
    arguments = parser.parse_args()
    golden = json.loads(arguments.golden.read_text())
    tables = golden["graphs"]["resnet_tables"]
    cpu, wall, outcomes = {}, {}, {}
    for case in golden["cases"]:
        graph = graph_of(case, tables)
        start, start_cpu = time.perf_counter(), time.process_time()
        try:
            solved = solve(case, graph)
        except ValueError:
            solved = None
        cpu[case["id"]] = 1e3 * (time.process_time() - start_cpu)
        wall[case["id"]] = 1e3 * (time.perf_counter() - start)
        outcome = (
            compare(case, solved) if solved else "refused" + ", as recorded" * ("error" in case)
        )
        outcomes.setdefault(outcome, []).append(case["id"])
        print(f"{cpu[case['id']]:8.2f} ms  {case['id']:60s} {outcome}")
    result = {
        "solves": len(cpu),
        "cpu": summary(cpu),
        "wall": summary(wall),
        "outcomes": {name: len(ids) for name, ids in outcomes.items()},
    }
    print(json.dumps(result) if arguments.json else result)


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
