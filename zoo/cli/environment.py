"""`zoo env`: what decides here what is computed, and whether it is computed rightly."""

import os
import platform
import sys
from typing import Any

from zoo.cli import commands
from zoo.cli.text import Output, text

_VARIABLES = (
    "ZOO_CHECKPOINTS", "ZOO_CACHE", "ZOO_URL", "ZOO_OFFLINE", "ZOO_LOCK_TIMEOUT", "HF_ENDPOINT",
    "JAX_PLATFORMS", "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "ZOO_COORDINATOR", "ZOO_PROCESSES",
    "ZOO_PROCESS_ID", "ZOO_JOIN_SECONDS", "ZOO_HEARTBEAT_SECONDS", "ZOO_STALL_SECONDS",
    "ZOO_CPU_GUARD",
)  # fmt: skip


def env(command: commands.Env) -> Output:
    """Versions, devices and variables; with `--check` what JAX computes."""
    import jax

    from zoo.common.environment import library_versions
    from zoo.cpu import prepare
    from zoo.pretrained.index import checkpoints_folder

    devices = jax.devices()
    value = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": library_versions(),
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in devices],
        "checkpoints": str(checkpoints_folder()),
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "cpu": prepare()._asdict(),
    }
    lines = [f"{key}: {text(item)}" for key, item in value.items()]
    return _checked(value, lines) if command.check else Output(value, lines)


def _checked(value: dict[str, Any], lines: list[str]) -> Output:
    from zoo.cpu.checks import run_checks

    words = {True: "right", False: "WRONG", None: "note"}
    checks = list(run_checks())
    lines = lines + [f"{words[check.passed]}: {check.name}: {check.found}" for check in checks]
    failed = any(check.passed is False for check in checks)
    return Output({**value, "checks": [check._asdict() for check in checks]}, lines, int(failed))
