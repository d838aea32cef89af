"""Several processes as one run: how they find each other, what they agree on, how they end.

Owns no training: `jax.process_index()` and the devices of the mesh say who does what.
"""

from zoo.processes.errors import (
    RESTART,
    FirstProcessError,
    LaunchError,
    LostProcessError,
    ProcessesDifferError,
    lost_process,
)
from zoo.processes.launch import Launch, joined, read_launch
from zoo.processes.supervision import supervised

__all__ = [
    "RESTART",
    "FirstProcessError",
    "Launch",
    "LaunchError",
    "LostProcessError",
    "ProcessesDifferError",
    "joined",
    "lost_process",
    "read_launch",
    "supervised",
]
