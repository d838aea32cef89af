"""Memory of the process is kept for the next step instead of returned to the system after each.

XLA allocates the intermediate arrays of a step in one piece and frees them after it. glibc gives
pieces of that size back to the system, which hands them out again page by page, each page zeroed:
a third of the time of a small network's step.
"""

import importlib.util
import os
from collections.abc import Mapping

# From malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
# One arena: the others, which further threads get, hold no piece above 32 MiB. No piece by mmap,
# and the end of the heap is never given back.
_SETTINGS = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))


def keep_memory(environment: Mapping[str, str]) -> str:
    """Tells glibc's allocator to keep what is freed; returns `Prepared.memory`."""
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in environment):
        return "the user's settings"
    if not _is_glibc():
        return "other allocator"
    if not _computes_here(environment):
        return "not needed"
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(parameter, value) == 1 for parameter, value in _SETTINGS]
    return "kept" if all(done) else "other allocator"


def _computes_here(environment: Mapping[str, str]) -> bool:
    """Whether JAX takes the processor; elsewhere one arena only slows the threads that decode."""
    if platforms := environment.get("JAX_PLATFORMS"):
        return platforms.split(",")[0] == "cpu"
    return not any(importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu"))


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # Windows, macOS, musl
        return False
