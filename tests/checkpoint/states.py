"""States to save, how to compare them bit by bit, and ways to damage files and to die."""

import contextlib
import dataclasses
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

REPOSITORY = Path(__file__).resolve().parents[2]
_CHANGES = ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync")


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["step", "params", "opt_state", "ema", "key"],
    meta_fields=[],
)
@dataclasses.dataclass
class State:
    step: Any
    params: Any
    opt_state: Any
    ema: Any
    key: Any


def state_at(step: int, width: int = 8) -> State:
    """A training state of every kind of leaf; a function of `step` alone."""
    rng = np.random.default_rng(step)

    def array(shape, dtype):
        return jnp.asarray(rng.standard_normal(shape), dtype)

    params = {
        "stages.0.blocks.07.conv1.kernel": array((3, 3, width, width), jnp.float32),
        "stages.0.blocks.07.conv1.bias": array((width,), jnp.bfloat16),
        "head.kernel": array((width, 10), jnp.float32),
    }
    return State(
        step=jnp.int32(step),
        params=params,
        opt_state=optax.adamw(1e-3).init(params),
        ema={"stages.0.blocks.07.conv1.kernel": array((2, 2), jnp.float16), "none": None},
        key=jax.random.split(jax.random.key(step), 3),
    )


def abstract(tree: Any, sharding: Any = None, dtype: Any = None) -> Any:
    def leaf(a):
        is_float = jnp.issubdtype(a.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(
            a.shape, dtype if dtype and is_float else a.dtype, sharding=sharding
        )

    return jax.tree.map(leaf, tree)


def bits(array: Any) -> bytes:
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    return np.asarray(array).tobytes()


def same_bits(a: Any, b: Any) -> bool:
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and x.shape == y.shape and bits(x) == bits(y) for x, y in pairs)


DAMAGES = ("remove", "empty", "halve", "cut", "append", "flip", "zero", "symlink", "fifo")


def damage(path: Path, kind: str, outside: Path) -> bool:
    """Damages a file; False where this kind changes nothing in it.

    A link leads to a true copy of the file in the folder `outside`.
    """
    content = path.read_bytes()
    changed = {
        "empty": b"",
        "halve": content[: len(content) // 2],
        "cut": content[:-1],
        "append": content + b"\0",
        "flip": content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 4] if content else [])
        + content[len(content) // 2 + 1 :],
        "zero": bytes(len(content)),
    }
    if kind in changed:
        path.write_bytes(changed[kind])
        return changed[kind] != content
    path.unlink()
    if kind == "symlink":
        elsewhere = outside / f"copy-of-{path.name}"
        elsewhere.write_bytes(content)
        path.symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(path)
    return True


def files_below(directory: Path) -> list[Path]:
    return sorted(p for p in directory.rglob("*") if p.is_file())


def snapshot(directory: Path) -> dict[str, tuple[int, ...]]:
    """Everything about a directory tree that writing into it changes."""
    paths = [directory, *directory.rglob("*")]
    return {
        str(p): (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        for p in paths
        if (s := p.lstat())
    }


def child(code: str, *arguments: object, **environment: str) -> subprocess.Popen:
    """Starts `code` in a fresh Python that can import the zoo and this module."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu", **environment},
    )


def run_child(code: str, *arguments: object, **environment: str) -> str:
    process = child(code, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


@contextlib.contextmanager
def dead_after(calls: int) -> Iterator[None]:
    """After so many changes no further one reaches the disk, as when the process is killed."""
    left = itertools.count(calls, -1)

    def wrap(call: Any) -> Any:
        def counted(*args: Any, **options: Any) -> Any:
            if next(left) <= 0:
                raise OSError(5, "the process is dead")
            return call(*args, **options)

        return counted

    with contextlib.ExitStack() as stack:
        for name in _CHANGES:
            stack.enter_context(mock.patch.object(os, name, wrap(getattr(os, name))))
        yield
