"""Whether JAX computes rightly on this machine, and what it has to compute with.

Results come from child processes where a wrong one may end the process; other numbers are compared
with NumPy in float64.
"""

import concurrent.futures
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.cpu.patterns import PATTERNS, is_right

_SECONDS = 240  # a pattern takes one; some wrong ones never end
_GROUP = Path("/sys/fs/cgroup")


class Check(NamedTuple):
    """One thing looked at; `passed` None only tells."""

    name: str
    passed: bool | None
    found: str


def run_checks() -> Iterator[Check]:
    """Every check, one after another; takes about five seconds."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(_pattern, PATTERNS)
    yield from (_convolution(), _bfloat16_rounding(), _bfloat16_product())
    yield from (_threads(), _memory())


def _pattern(name: str) -> Check:
    command = [sys.executable, "-m", "zoo.cpu.patterns", name]
    title = name.replace("_", " ")
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Check(title, False, f"no result in {_SECONDS} s")
    if done.returncode < 0:
        return Check(title, False, f"ended the process with signal {-done.returncode}")
    if done.returncode:
        return Check(title, False, (done.stderr.splitlines() or ["failed"])[-1])
    return _compared(title, float(done.stdout), is_right(float(done.stdout)))


def _convolution() -> Check:
    """3 x 3 with stride 2 and a margin of 1, as the networks use it."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((4, 16, 16, 8), dtype=np.float32)
    kernel = generator.standard_normal((3, 3, 8, 24), dtype=np.float32)

    def convolve(images: jax.Array, kernel: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            images, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=layout, precision="highest"
        )

    padded = np.pad(images.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    right = sum(
        padded[:, i : i + 16 : 2, j : j + 16 : 2] @ kernel[i, j].astype(np.float64)
        for i in range(3)
        for j in range(3)
    )
    error = _relative(np.asarray(jax.jit(convolve)(images, kernel)), np.asarray(right))
    return _compared("convolution", error, error < 1e-5)  # 72 float32 products


def _bfloat16_rounding() -> Check:
    """To the nearest, ties to even, bit for bit."""
    bits = np.random.default_rng(0).integers(0, 2**31, 1 << 16, dtype=np.uint32)
    bits[::2] = bits[::2] & 0xFFFF0000 | 0x8000  # halfway between two numbers
    bits = bits[bits < 0x7F7F0000]  # finite, also when rounded up
    found = np.asarray(jax.jit(lambda x: x.astype(jnp.bfloat16))(bits.view(np.float32)))
    right = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    wrong = int(np.sum(found.view(np.uint16) != right))
    return Check("bfloat16 rounding", wrong == 0, f"{wrong} of {len(bits)} numbers differ")


def _bfloat16_product() -> Check:
    """A product of bfloat16 matrices, summed in float32 and rounded once."""
    a, b = np.random.default_rng(0).standard_normal((2, 256, 256), dtype=np.float32)
    narrow = [jnp.asarray(one, jnp.bfloat16) for one in (a, b)]
    exact = np.matmul(*(np.asarray(one, np.float64) for one in narrow))
    found = np.asarray(jax.jit(jnp.matmul)(*narrow), np.float64)
    error = float(np.max(np.abs(found - exact)) / np.max(np.abs(exact)))
    return _compared("bfloat16 product", error, error < 2**-8)  # half a step of 8 bits


def _threads() -> Check:
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _group("cpu.max").split()
    limit = (
        f", its group {int(quota[0]) / int(quota[1]):g}" if quota[:1] not in ([], ["max"]) else ""
    )
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")
    given = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    text = f"{os.cpu_count()} cores, this process may use {granted}{limit}"
    return Check("threads", None, "; ".join([text, *given]))


def _memory() -> Check:
    page = os.sysconf("SC_PAGE_SIZE")
    gibibytes = page * os.sysconf("SC_PHYS_PAGES") / 2**30
    limit = _group("memory.max")
    group = f", its group {int(limit) / 2**30:.1f}" if limit.isdecimal() else ""
    return Check("memory", None, f"{gibibytes:.1f} GiB{group}")


def _group(file: str) -> str:
    """What the control group of this process says, as a container limits itself; "" if nothing."""
    try:
        return (_GROUP / file).read_text().strip()
    except OSError:
        return ""


def _relative(found: np.ndarray, right: np.ndarray) -> float:
    return float(np.max(np.abs(found - right)) / np.max(np.abs(right)))


def _compared(name: str, error: float, passed: bool) -> Check:
    return Check(name, passed, f"largest error {error:.1e} of the largest value")
