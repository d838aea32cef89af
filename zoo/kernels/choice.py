"""Which kernels a program runs with, chosen before it is compiled."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from zoo.kernels.library import NoKernelsError, load_onednn
from zoo.kernels.rewriting import with_onednn

KERNELS = ("auto", "xla", "onednn")
"""What may be asked for: oneDNN where it can be used, XLA's own, oneDNN or an error."""


@dataclasses.dataclass(frozen=True)
class Kernels:
    """What computes convolutions and matrix products.

    Attributes:
      name: "xla" or "onednn".
      version: of oneDNN; empty for XLA.
      reason: why oneDNN is left out; empty if it is used, or was not asked for.
    """

    name: str = "xla"
    version: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"oneDNN {self.version}" if self.name == "onednn" else "XLA"

    @property
    def description(self) -> str:
        """Its name, and why it is not the faster one."""
        return f"{self} (oneDNN is left out: {self.reason})" if self.reason else str(self)

    def applied(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, computed with these kernels."""
        return with_onednn(function) if self.name == "onednn" else function


def choose_kernels(wanted: str, devices: Sequence[jax.Device]) -> Kernels:
    """The kernels of a program that runs on `devices`.

    oneDNN computes on one processor device of one process: a custom call knows nothing of arrays
    that lie on several.

    Args:
      wanted: one of `KERNELS`.
      devices: of all processes.

    Raises:
      NoKernelsError: if "onednn" cannot be had.
      ValueError: for an unknown name.
    """
    if wanted not in KERNELS:
        raise ValueError(f"kernels={wanted!r} is unknown; allowed: {', '.join(KERNELS)}")
    platform = devices[0].platform
    # Nobody misses it on another backend.
    if wanted == "xla" or (wanted == "auto" and platform != "cpu"):
        return Kernels()
    try:
        if platform != "cpu":
            raise NoKernelsError(f"it computes on processors, this is a {platform}")
        if len(devices) != 1:
            raise NoKernelsError(f"it computes on one device, these are {len(devices)}")
        return Kernels("onednn", load_onednn())
    except NoKernelsError as error:
        if wanted == "onednn":
            raise NoKernelsError(
                f"kernels='onednn': {error}; or set kernels='auto' to do without"
            ) from error
        return Kernels(reason=str(error))
