"""Compiling quickly what runs once."""

import functools
from typing import Any

import jax

from zoo.models import Network, create_model, merge, split

quick_jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": "0",
        "xla_llvm_disable_expensive_passes": True,
    },
)
"""`jax.jit` without the passes that make a program fast and its compilation slow."""


def quick_model(id: str, **options: Any) -> Network:
    """What `create_model` gives, its weights drawn in one program rather than one after another."""
    graphdef, _ = split(create_model(id, abstract=True, **options))
    return merge(graphdef, quick_jit(lambda: split(create_model(id, **options))[1])())
