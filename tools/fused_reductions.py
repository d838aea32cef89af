"""Which reductions of a training step XLA gives to YNNPACK by default, and what that changes.

usage: python tools/fused_reductions.py digits in1k:resnet50 [--scan]
       python tools/fused_reductions.py smoke --compare [--batch-size 16]

Compiles the step of each recipe without the flag of `zoo.cpu`, at the recipe's own size, and counts
YNNPACK's fusions: all; those that reduce; of these, those that multiply matrices as well; and those
of a form that was seen to be wrong (docs/jax_cpu.md). With `--compare` it makes one step in float32
with and without the flag, and prints the largest relative difference of a gradient.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from zoo.common.console import quiet_pipe

_FUSION = re.compile(r"calls=%([\w.-]+).*\"kind\":\"__ynn_fusion\"")
_COMPUTATION = re.compile(r"^%([\w.-]+) .*?\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_REDUCTION, _PRODUCT = re.compile(r" reduce\("), re.compile(r" (?:dot|convolution)\(([^)]*)\)")
_FILLED = re.compile(r"%([\w.-]+) = \S+ broadcast\([^)]*\), dimensions=\{\}")
_SEVEN_AXES = re.compile(r"\w+\[(?:\d+,){6,}\d+\]")
_LONG = re.compile(r"\d+")
_ROWS = 32_768
_UNGUARDED = {"ZOO_CPU_GUARD": "off"}


def main() -> None:
    arguments = _arguments()
    if arguments.write is not None:
        _measure(arguments)
        return
    for recipe in arguments.recipes:
        compared = _compared(recipe) if arguments.compare else _child(recipe, _UNGUARDED)
        print(json.dumps({"recipe": recipe, **compared}), flush=True)


def _compared(recipe: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "default.npz", Path(folder) / "guarded.npz"]
        counts = _child(recipe, _UNGUARDED, files[0])
        _child(recipe, {}, files[1])
        wrong, right = (dict(np.load(file)) for file in files)
    differences = {
        name: float(np.linalg.norm(wrong[name] - value) / np.linalg.norm(value))
        for name, value in right.items()
        if np.any(value)
    }
    worst = max(differences, key=lambda name: differences[name])
    return {**counts, "difference": differences[worst], "of": worst}


def _child(recipe: str, variables: dict[str, str], file: Path | str = "") -> dict[str, int]:
    """What `_measure` says in a process of its own, since XLA reads its flags once."""
    recipes = set(_arguments().recipes)
    options = [word for word in sys.argv[1:] if word not in recipes]
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, __file__, recipe, *options, f"--write={file}"]
    environment = {**clean, **variables}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(arguments: argparse.Namespace) -> None:
    """Prints the counts of this process, and writes its gradients by name where asked to."""
    import jax
    import jax.numpy as jnp

    from zoo.models import split
    from zoo.recipes import load_recipe
    from zoo.training.preparing import build_step
    from zoo.training.sharding import make_mesh

    name, _, arch = arguments.recipes[0].partition(":")
    config = load_recipe(name, arch or None)
    options = {"scan": arguments.scan, **({"dtype": "float32"} if arguments.compare else {})}
    size = arguments.batch_size or config.data.batch_size
    data = dataclasses.replace(config.data, batch_size=size)
    config = dataclasses.replace(config, model=config.model.with_options(**options), data=data)
    classes = config.model.num_classes or 10
    model, step = build_step(config, classes, 1000, make_mesh(config.mesh))
    generator = np.random.default_rng(0)
    pixels = (size, *config.preprocessing.image_size, config.preprocessing.channels)
    batch = {
        "image": generator.integers(0, 256, pixels, np.uint8),
        "label": generator.integers(0, classes, size, np.int32),
    }

    def both(state: Any, batch: Any) -> Any:
        return step(state, batch), step.gradients(state, batch)[0]  # computed once

    params = split(model)[1]
    program = jax.jit(both).lower(jax.eval_shape(step.init, params), batch).compile()
    print(json.dumps(_counts(program.as_text() or "")))
    if not arguments.write:
        return
    # Nothing of a real start: every parameter takes part, and no gradient is zero.
    drawn = {name: generator.normal(0, 0.1, value.shape) for name, value in params.items()}
    near_one = (".scale", ".var")
    drawn = {name: value + 1.0 * name.endswith(near_one) for name, value in drawn.items()}
    state = step.init({name: jnp.asarray(value, jnp.float32) for name, value in drawn.items()})
    gradients = program(state, batch)[1]
    arrays: dict[str, Any] = {n: np.asarray(v, np.float64) for n, v in gradients.items()}
    np.savez(arguments.write, **arrays)


def _counts(text: str) -> dict[str, int]:
    called = set(_FUSION.findall(text))
    bodies = [body for name, body in _COMPUTATION.findall(text) if name in called]
    reducing = [body for body in bodies if _REDUCTION.search(body)]
    multiplying = [body for body in reducing if _PRODUCT.search(body)]
    return {
        "fusions": len(bodies),
        "reducing": len(reducing),
        "multiplying": len(multiplying),
        "wrong_form": sum(map(_is_wrong_form, reducing)),
    }


def _is_wrong_form(body: str) -> bool:
    """Seven axes, or a product that is fused: with a filled array, or of very many rows."""
    if _SEVEN_AXES.search(body):
        return True
    operands = {name for found in _PRODUCT.findall(body) for name in re.findall(r"[\w.-]+", found)}
    rows = [int(n) for shape in re.findall(r"\[([\d,]+)\]", body) for n in _LONG.findall(shape)]
    many = bool(operands) and max(rows, default=0) > _ROWS
    return many or bool(operands & set(_FILLED.findall(body)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="+", help="names, such as digits or in1k:resnet50")
    parser.add_argument("--scan", action="store_true", help="compile equal blocks as one")
    parser.add_argument("--compare", action="store_true", help="make a step with the flag as well")
    parser.add_argument("--batch-size", type=int, help="in place of the recipe's")
    parser.add_argument("--write", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
