"""`zoo plan`: what a training step costs on devices that are not here."""

import dataclasses
import os
from typing import Annotated, Any, Literal

from tyro.conf import arg

from zoo.cli.commands import CONFIGURATION, Command, require_configuration
from zoo.cli.text import Output
from zoo.common.console import Working

_HELP = """Compile the training step for a topology without having it: memory, time, communication.

$ zoo plan --recipe in1k --topology v5e:4x4
$ zoo plan --recipe in1k --topology v5e:16x16 --data.batch-size 32768
"""
_TOPOLOGY_HELP = (
    "v4, v5e, v5p, v6e (pip install 'flax-vanilla-zoo[tpu]'), gpu or cpu: v5e:4x4, cpu:8"
)
_REMAT_HELP = "auto: of the policies that fit, the one that computes least again (model.remat)"
_FORCED = "--xla_force_host_platform_device_count"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanSummary(Command):
    """What a training step costs on devices that are not here: zoo plan --help."""


def plan_command(config_type: type, config: Any) -> type[Command]:
    """The command `plan`, whose further options are the fields of a configuration."""
    fields: list[Any] = [
        *CONFIGURATION,
        ("topology", Annotated[str, arg(help=_TOPOLOGY_HELP)]),
        ("remat", Annotated[Literal["config", "auto"], arg(help=_REMAT_HELP)], "config"),
        ("settings", Annotated[config_type, arg(name="")], dataclasses.field(default=config)),
    ]
    made = dataclasses.make_dataclass("Plan", fields, bases=(Command,), frozen=True, kw_only=True)
    made.__doc__ = _HELP
    return made


def plan(command: Any) -> Output:
    """Memory, least time and communication of one step."""
    require_configuration(command)
    kind, _, count = command.topology.partition(":")
    flags = os.environ.get("XLA_FLAGS", "")
    if kind in ("cpu", "gpu") and count.isdigit() and _FORCED not in flags:
        # Read when JAX first looks for devices, which nothing has done yet.
        os.environ["XLA_FLAGS"] = f"{flags} {_FORCED}={count}".strip()
    with Working(f"compiling the step for {command.topology}"):
        from zoo.planning import plan

        found = plan(command.settings, command.topology, remat=command.remat)
    return Output(found.to_json(), _lines(found))


def _lines(found: Any) -> list[str]:
    memory = found.memory
    fits = {None: "", True: ", fits", False: ", DOES NOT FIT"}[found.fits]
    capacity = "" if found.capacity is None else f" of {_gigabytes(found.capacity)}"
    lines = [
        f"{found.arch}, {found.batch_size} images a step on {found.topology}: "
        f"{found.chip_batch} a chip"
        + ("" if found.remat == "none" else f", {found.remat} computed again"),
        f"memory {_gigabytes(memory.total)}{capacity}{fits}: parameters "
        f"{_gigabytes(memory.parameters)}, optimiser {_gigabytes(memory.optimizer)}, batch "
        f"{_gigabytes(memory.batch)}, activations and workspace {_gigabytes(memory.temporary)}",
    ]
    if found.largest_batch is not None:
        lines.append(f"largest batch a chip, in proportion: about {found.largest_batch}")
    lines.append(
        f"a chip computes {found.flops / 1e9:,.1f} GFLOP and moves at least "
        f"{_gigabytes(found.bytes_moved)} a step"
    )
    lines += [
        f"{kind}: {told.count} with {_gigabytes(told.bytes)}"
        for kind, told in found.collectives.items()
    ] or ["no communication"]
    if found.seconds:
        longest = max(found.seconds, key=found.seconds.__getitem__)
        parts = ", ".join(f"{name} {1000 * t:.1f} ms" for name, t in found.seconds.items())
        rate = found.batch_size / found.seconds[longest]
        lines.append(f"least time {parts}: at most {rate:,.0f} images/s, bound by {longest}")
    if not found.native:
        lines.append("divided by XLA for CPU: workspace and bytes moved are estimates")
    return [*lines, f"compiled in {found.compile_seconds:.0f} s"]


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.3f} GB"
