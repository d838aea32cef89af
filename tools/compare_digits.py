"""Trains shaped and unshaped 50-layer plain networks alike on digits, and tabulates the truth.

usage: python tools/compare_digits.py --workdir runs/compare --out runs/comparison.md

Every network runs with every learning rate and seed: no baseline loses for a badly chosen one.
Started again, it goes on where it was stopped.
"""

import argparse
import dataclasses
import os
import platform
import statistics
from pathlib import Path

import jax

from zoo.training import TrainConfig, fit, load_config

RECIPE = Path("configs/vanilla_resnet50_tat_lrelu_digits.py")
NETWORKS = {
    "TAT, leaky ReLU": "vanilla_resnet50_tat_lrelu",
    "edge of chaos, ReLU": "vanilla_resnet50_eoc_relu",
    "unshaped, He-initialised ReLU": "vanilla_resnet50_he_relu",
}
LEARNING_RATES = (0.1, 0.03, 0.01, 0.003)
SEEDS = (0, 1, 2)


def main() -> None:
    """Trains what is missing, then writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True, help="Markdown file to write")
    args = parser.parse_args()
    recipe = load_config(RECIPE)
    rows = [
        "| network | learning rate | test top-1, seeds " + ", ".join(map(str, SEEDS)) + " "
        "| mean | standard error |",
        "|---|---|---|---|---|",
    ]
    for title, arch in NETWORKS.items():
        for rate in LEARNING_RATES:
            top1 = [_train(args.workdir, recipe, arch, rate, seed) for seed in SEEDS]
            rows.append(_row(title, rate, top1))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join([*rows, "", _how(recipe)]) + "\n", encoding="utf-8")
    print(args.out.read_text())


def _train(workdir: Path, recipe: TrainConfig, arch: str, learning_rate: float, seed: int) -> float:
    """Test top-1 of one run."""
    config = dataclasses.replace(
        recipe,
        seed=seed,
        model=recipe.model.with_arch(arch),
        optimizer=dataclasses.replace(recipe.optimizer, learning_rate=learning_rate),
    )
    return fit(config, workdir / f"{arch}-{learning_rate:g}-{seed}").metrics["top1"]


def _row(title: str, rate: float, top1: list[float]) -> str:
    shares = ", ".join(f"{100 * value:.2f} %" for value in top1)
    error = statistics.stdev(top1) / len(top1) ** 0.5
    return f"| {title} | {rate:g} | {shares} | {statistics.mean(top1):.2%} | {error:.2%} |"


def _how(recipe: TrainConfig) -> str:
    return (
        f"Same depth, width, data, {recipe.steps} steps and schedule for all, {len(SEEDS)} seeds a "
        "row; the recipe's learning rate is "
        f"{recipe.optimizer.learning_rate:g}. Made by `python tools/compare_digits.py --workdir "
        f"runs/compare --out runs/comparison.md` on {os.cpu_count()} {platform.machine()} CPU "
        f"cores, jax {jax.__version__}. He-initialised: independent normal weights of variance 2 / "
        "fan-in, plain ReLU; the others: orthogonal Delta weights."
    )


if __name__ == "__main__":
    main()
