"""Devices to compile for without having them, and what their chips can do at most."""

import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import re

import jax

_GB = 1e9
_TPUS = ("v4", "v5e", "v5p", "v6e")
_QUIET = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chip is taken, so others may compile or train
}


class PlanError(ValueError):
    """A topology that is unknown or cannot be compiled for on this machine."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """Peaks of one chip.

    Attributes:
      name: as its maker calls it.
      memory: bytes.
      flops: bfloat16 operations a second.
      bandwidth: bytes of memory a second.
      link: bytes a second to one neighbour, in one direction.

    Sources: jax-ml.github.io/scaling-book (TPUs); data sheet of the NVIDIA H100 SXM.
    """

    name: str
    memory: float
    flops: float
    bandwidth: float
    link: float


CHIPS = {
    "v4": Chip("TPU v4", 32 * _GB, 275e12, 1.2e12, 4.5e10),
    "v5e": Chip("TPU v5e", 16 * _GB, 197e12, 8.1e11, 4.5e10),
    "v5p": Chip("TPU v5p", 96 * _GB, 459e12, 2.8e12, 9e10),
    "v6e": Chip("TPU v6e", 32 * _GB, 920e12, 1.6e12, 9e10),
    "gpu": Chip("NVIDIA H100 SXM", 80 * _GB, 989e12, 3.35e12, 4.5e11),
}
"""By the name before the colon of a topology; `cpu` has no peaks."""


@dataclasses.dataclass(frozen=True)
class Topology:
    """A number of equal devices.

    Attributes:
      text: such as "v5e:4x4".
      kind: before the colon.
      count: number of chips.
      chip: peaks, or None for `cpu`.
      devices: to compile for.
      native: whether the compiler is the one of these devices; if not, XLA for CPU divides the
        same program among as many devices, and its temporary memory is an estimate.
    """

    text: str
    kind: str
    count: int
    chip: Chip | None
    devices: tuple[jax.Device, ...]
    native: bool

    @property
    def compiler(self) -> str:
        """What compiles for these devices, with its version."""
        library = "libtpu" if self.kind in _TPUS else "jaxlib"
        return f"{library} {importlib.metadata.version(library)}"


def find_topology(text: str) -> Topology:
    """Reads "v5e:16x16", "gpu:8" or "cpu:8".

    Raises:
      PlanError: for a text that names no topology, or one that cannot be compiled for here.
    """
    match = re.fullmatch(rf"(?P<kind>{'|'.join(_TPUS)}|gpu|cpu):(?P<shape>\d+(x\d+)*)", text)
    if match is None:
        raise PlanError(f"topology {text!r}: give v4, v5e, v5p, v6e, gpu or cpu, as in v5e:4x4")
    kind, count = match["kind"], math.prod(int(n) for n in match["shape"].split("x"))
    if kind in ("cpu", "gpu"):
        has_gpus = jax.default_backend() == "gpu" and jax.device_count() >= count
        platform = "gpu" if kind == "gpu" and has_gpus else "cpu"
        there = jax.devices(platform)
        if len(there) < count:
            raise PlanError(
                f"topology {text!r}: {len(there)} {platform} devices are there; set "
                f"XLA_FLAGS=--xla_force_host_platform_device_count={count}"
            )
        native = platform == kind
        return Topology(text, kind, count, CHIPS.get(kind), tuple(there[:count]), native)
    return Topology(text, kind, count, CHIPS[kind], _tpus(text), True)


def _tpus(text: str) -> tuple[jax.Device, ...]:
    from jax.experimental import topologies

    if importlib.util.find_spec("libtpu") is None:
        raise PlanError(f"topology {text!r}: pip install 'flax-vanilla-zoo[tpu]' for its compiler")
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    # The two cores of a v4 chip work as one device, as in training; else they would count twice.
    options = {"chip_config_name": "megacore"} if text.startswith("v4:") else {}
    try:
        return tuple(topologies.get_topology_desc(text, platform="tpu", **options).devices)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise PlanError(f"topology {text!r} is none of libtpu's: {reason}") from error
