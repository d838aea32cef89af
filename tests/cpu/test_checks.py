"""What jaxlib computes wrongly by default is right where `zoo` is imported, and checked for."""

import importlib.metadata
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from tests.conftest import REPOSITORY
from zoo.cli import main
from zoo.cpu import checks
from zoo.cpu.patterns import PATTERNS, is_right

JAXLIB = tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:3])
TITLES = {name.replace("_", " "): name for name in PATTERNS}
# First and last jaxlib that was seen to be wrong without the flag, on x86-64.
WRONG = {
    "fused_product_sum": ((0, 10, 2), (0, 12, 0)),
    "many_small_products": ((0, 10, 2), (0, 10, 2)),
    "seven_axes": ((0, 10, 2), (0, 10, 2)),
    "eight_axes": ((0, 10, 2), (0, 11, 0)),
}


def test_everything_is_right_with_the_guard(capsys):
    assert main(["env", "--check", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    passed = {check["name"]: check["passed"] for check in found["checks"]}
    assert set(TITLES) < {name for name, right in passed.items() if right}
    assert "convolution" in passed and False not in passed.values()
    assert found["cpu"]["flag"] in ("added", "kept")


def test_every_pattern_is_right_with_the_other_cure():
    environment = {"XLA_FLAGS": "--xla_cpu_experimental_ynn_fusion_type=-reduce"}
    done = subprocess.run(
        [sys.executable, "-m", "zoo.cpu.patterns", *PATTERNS], capture_output=True, text=True,
        cwd=REPOSITORY, env={**os.environ, "JAX_PLATFORMS": "cpu", **environment}, timeout=120,
    )  # fmt: skip
    errors = [float(line) for line in done.stdout.split()]
    assert len(errors) == len(PATTERNS) and all(map(is_right, errors)), done.stderr


def test_the_checks_find_what_this_jaxlib_computes_wrongly_without_the_guard(monkeypatch):
    if os.uname().machine != "x86_64" or JAXLIB > (0, 12, 0):
        pytest.skip(f"nobody has looked at jaxlib {JAXLIB} on {os.uname().machine}")
    monkeypatch.setenv("ZOO_CPU_GUARD", "off")
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    found = {check.name: check.passed for check in checks.run_checks()}
    wrong = {TITLES[name] for name, passed in found.items() if passed is False}
    assert wrong == {name for name, (first, last) in WRONG.items() if first <= JAXLIB <= last}


def test_a_wrong_convolution_and_wrong_rounding_are_found(monkeypatch):
    monkeypatch.setattr(jax.lax, "conv_general_dilated", _off_by_a_little)
    monkeypatch.setattr(jnp, "bfloat16", jnp.float16)
    assert checks._convolution().passed is False
    assert checks._bfloat16_rounding().passed is False


_convolve = jax.lax.conv_general_dilated


def _off_by_a_little(images, kernel, *arguments, **options):
    return _convolve(images, kernel, *arguments, **options).at[0, 0, 0, 0].multiply(1.001)


@pytest.mark.parametrize("error", [float("nan"), float("inf"), 1e-3])
def test_no_wrong_result_passes_for_rounding(error):
    assert not is_right(error)
