"""The reference side of `zoo bench`: DeepMind's dks solves for a plain network; run by its Python.

python solver.py JSON
"""

import importlib.metadata
import json
import sys

from dks.base.activation_transform import get_transformed_activations
from rounds import serve


def prepare() -> tuple:
    """What is called: the solution for as many nonlinear layers, one after the other, as given."""
    given = json.loads(sys.argv[1])

    def chain(value, local):
        for _ in range(given["layers"]):
            value = local(value)
        return value

    def solve() -> None:
        get_transformed_activations(
            [given["activation"]], method=given["method"], subnet_max_func=chain
        )

    return solve, {"version": "dks " + importlib.metadata.version("dks")}


if __name__ == "__main__":
    serve(prepare)
