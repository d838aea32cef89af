"""The XLA flag under which JAX computes rightly on a processor."""

import os
import re
import sys
from collections.abc import Mapping, MutableMapping

FLAG = "--xla_cpu_experimental_ynn_fusion_type"
# Nothing goes to YNNPACK. "-reduce", all but reductions, is right too; docs/jax_cpu.md compares.
CURE = ""
_CURES = (CURE, "-reduce")
# Releases of jaxlib that were seen to know the flag: XLA ends a process that names an unknown one.
_KNOWN_FROM, _KNOWN_BEFORE = (0, 9), (0, 13)
# Flags that change what is written down or emulated, but no bit of a result.
_NO_BITS = ("xla_dump_", "xla_force_host_platform_device_count")
_VALUE = re.compile(rf"(?:^|\s){FLAG}(?:=(\S*))?(?=\s|$)")


def set_flag(environment: MutableMapping[str, str]) -> str:
    """Adds the flag to XLA_FLAGS where nothing speaks against it.

    Returns:
      `Prepared.flag`: what was done, or why nothing.
    """
    flags = environment.get("XLA_FLAGS", "").strip()
    if _jax_has_started():
        return "late"
    if flags and not flags.startswith("-"):
        return "file"
    if (value := ynn_fusion_type(environment)) is not None:
        return "kept" if value in _CURES else "other value"
    if not _KNOWN_FROM <= _jaxlib_version() < _KNOWN_BEFORE:
        return "other jaxlib"
    environment["XLA_FLAGS"] = f"{flags} {FLAG}={CURE}".strip()
    return "added"


def ynn_fusion_type(environment: Mapping[str, str] = os.environ) -> str | None:
    """What XLA_FLAGS sends to YNNPACK; None if it does not say. The last value counts."""
    values = _VALUE.findall(environment.get("XLA_FLAGS", ""))
    return values[-1] if values else None


def deciding_flags(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What XLA_FLAGS says that may change bits of a result, by name; the last value counts."""
    given = (word.partition("=") for word in environment.get("XLA_FLAGS", "").split())
    flags = {name.removeprefix("--"): value for name, _, value in given}
    return {name: value for name, value in sorted(flags.items()) if not name.startswith(_NO_BITS)}


def advice(state: str) -> str:
    """What a user does in whose process the flag is not set, from `Prepared.flag`."""
    cure = f"XLA_FLAGS={FLAG}={CURE}"
    return {
        "late": f"start again and import zoo before JAX computes, or with {cure}",
        "file": f"add {FLAG}={CURE} to the file that XLA_FLAGS names, and start again",
    }.get(state, f"start again with {cure}")


def _jax_has_started() -> bool:
    """Whether a backend runs: it has read XLA_FLAGS, and does not do so again."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    # Where a later JAX keeps its backends elsewhere, they are taken for started, and probed.
    return bridge is not None and bool(getattr(bridge, "_backends", True))


def _jaxlib_version() -> tuple[int, ...]:
    """Major and minor version of the installed jaxlib; () without one."""
    import importlib.metadata  # a third of the time of `import zoo`, and only needed here

    try:
        version = importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
