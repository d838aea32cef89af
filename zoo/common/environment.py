"""What decides numbers beside the code's input: versions of libraries and the code's commit."""

import functools
import importlib.metadata
import subprocess
from pathlib import Path

LIBRARIES = (
    "flax-vanilla-zoo", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow",
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide numbers, of those installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# Once: a process keeps the code it began with, while the checkout may move on.
@functools.cache
def code_commit() -> str | None:
    """Commit of the checkout this code runs from, `-dirty` if changed; None outside of one."""
    checkout = Path(__file__).resolve().parents[2]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    if not (checkout / ".git").exists():
        return None
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
