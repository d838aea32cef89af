"""JAX on a processor: right results, quick memory, and whether both hold.

`prepare` runs when `zoo` is imported, before JAX starts. Nothing here imports JAX when it is
imported itself; what is wrong without it, and how that was found: docs/jax_cpu.md.
"""

import functools
import os
from typing import NamedTuple

from zoo.cpu.flags import set_flag
from zoo.cpu.memory import keep_memory

__all__ = ["Prepared", "WrongResultsError", "prepare", "require_right_results"]

SWITCH = "ZOO_CPU_GUARD"


class WrongResultsError(RuntimeError):
    """JAX computes wrongly in this process, and can no longer be told not to."""

    exit_code = 2


class Prepared(NamedTuple):
    """What was done to this process.

    Attributes:
      flag: "added" to XLA_FLAGS; "kept" as it was there; or why neither: "late" (JAX had started),
        "other value" (the user's), "file" (XLA_FLAGS names one), "other jaxlib" (one that may not
        know the flag), "off" (ZOO_CPU_GUARD=off).
      memory: "kept" for reuse instead of returned to the system; or why not: "the user's settings",
        "other allocator", "not needed" (JAX has an accelerator), "off".
    """

    flag: str
    memory: str

    @property
    def cured(self) -> bool:
        """Whether JAX starts, or has started, with a flag under which it computes rightly."""
        return self.flag in ("added", "kept")


@functools.cache
def prepare() -> Prepared:
    """Sets the flag and the allocator of this process, once; afterwards says what was done."""
    if os.environ.get(SWITCH) == "off":
        return Prepared("off", "off")
    return Prepared(set_flag(os.environ), keep_memory(os.environ))


@functools.cache
def require_right_results() -> None:
    """Refuses to compute where the default backend is a CPU that gives wrong results.

    Nothing is computed where `prepare` came in time; else two products take a tenth of a second.

    Raises:
      WrongResultsError: says what to set.
    """
    prepared = prepare()
    if prepared.cured or prepared.flag == "off":
        return
    import jax

    from zoo.cpu.flags import advice
    from zoo.cpu.patterns import wrong_here

    wrong = wrong_here() if jax.default_backend() == "cpu" else None
    if wrong is not None:
        raise WrongResultsError(f"JAX computes wrongly here: {wrong}; {advice(prepared.flag)}")
