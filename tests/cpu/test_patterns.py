"""What jaxlib computes wrongly by default is right where `zoo` is imported first."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from zoo.cpu.patterns import PATTERNS, is_right

JAXLIB = tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:3])
# Seen to be wrong without the guard, on x86-64: (0, 10, 1) was right.
WRONG = {
    "fused_product_sum": lambda version: (0, 10, 2) <= version <= (0, 12, 0),
    "many_small_products": lambda version: version == (0, 10, 2),
    "seven_axes": lambda version: version == (0, 10, 2),
    "eight_axes": lambda version: (0, 10, 2) <= version <= (0, 11, 0),
}


def _are_right(*names: str, **variables: str) -> bool:
    """Whether a child process gets all these patterns right."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "zoo.cpu.patterns", *names], capture_output=True, text=True,
            cwd=REPOSITORY, env={**environment, "JAX_PLATFORMS": "cpu", **variables}, timeout=120,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False
    errors = [float(line) for line in done.stdout.split()]
    return done.returncode == 0 and len(errors) == len(names) and all(map(is_right, errors))


def test_every_pattern_is_right_with_the_guard():
    assert _are_right(*PATTERNS)


def test_every_pattern_is_right_with_the_other_cure():
    assert _are_right(*PATTERNS, XLA_FLAGS="--xla_cpu_experimental_ynn_fusion_type=-reduce")


@pytest.mark.parametrize("name", PATTERNS)
def test_the_guard_is_needed_on_this_jaxlib(name):
    if not WRONG[name](JAXLIB) or os.uname().machine != "x86_64":
        pytest.skip(f"{name} was not seen wrong on jaxlib {JAXLIB}, {os.uname().machine}")
    assert not _are_right(name, ZOO_CPU_GUARD="off")


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 1e-3])
def test_no_wrong_result_passes_for_rounding(error):
    assert not is_right(error)
