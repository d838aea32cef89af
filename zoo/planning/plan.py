"""`plan`: the real training step, compiled for devices that need not be there, and its costs."""

import dataclasses
import math
import time
from typing import Any, Literal

import jax
import jax.numpy as jnp

from zoo.complexity import count_macs
from zoo.models import split
from zoo.planning.collectives import Collective, collectives
from zoo.planning.topology import PlanError, Topology, find_topology
from zoo.training import TrainConfig
from zoo.training.preparing import build_step
from zoo.training.run import abstract_state
from zoo.training.sharding import batch_sharding, make_mesh, replicated

Remat = Literal["config", "auto"]
# The schedule's length is a constant of the program and changes no cost.
_ANY_NUMBER_OF_STEPS = 1000
_CHEAPEST_FIRST = ("none", "activations", "blocks")


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one chip.

    Attributes:
      parameters: stored there.
      optimizer: all else of the state: momenta, averages.
      batch: of images and labels.
      temporary: activations kept for the backward pass, gradients and workspace.
      program: compiled code.
    """

    parameters: int
    optimizer: int
    batch: int
    temporary: int
    program: int

    @property
    def total(self) -> int:
        """The most that is held at once."""
        return sum(dataclasses.astuple(self))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one training step costs on one chip.

    Attributes:
      arch: id of the network.
      topology: such as "v5e:4x4".
      chips: number of them.
      native: False where XLA for CPU compiled in place of the chip's compiler, so that
        `memory.temporary` and `bytes_moved` are estimates.
      batch_size: examples of a step over all chips.
      chip_batch: of these, how many one chip computes; chips along "model" compute the same ones.
      remat: what the backward pass computes again.
      scan: whether equal blocks were compiled as one.
      compiler: what compiled, such as "libtpu 0.0.42".
      memory: bytes.
      capacity: bytes that the chip has, or None where that is unknown.
      flops: operations of the matrix products, forward and backward.
      bytes_moved: to and from memory, as the compiler counts: at least, since the body of a loop
        counts once.
      collectives: by kind.
      link_bytes: that the chip sends, by rings.
      seconds: least time of a step by "compute", "memory" and "links" at the chip's peaks; the
        step takes at least the largest. Empty where the peaks are unknown.
      largest_batch: per chip, if temporary memory grows in proportion to it; None if unknown.
      compile_seconds: on this machine.
    """

    arch: str
    topology: str
    chips: int
    native: bool
    batch_size: int
    chip_batch: int
    remat: str
    scan: bool
    compiler: str
    memory: Memory
    capacity: int | None
    flops: float
    bytes_moved: float
    collectives: dict[str, Collective]
    link_bytes: float
    seconds: dict[str, float]
    largest_batch: int | None
    compile_seconds: float

    @property
    def fits(self) -> bool | None:
        """Whether memory suffices; None where the capacity is unknown."""
        return None if self.capacity is None else self.memory.total <= self.capacity

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        memory = {**dataclasses.asdict(self.memory), "total": self.memory.total}
        return {**dataclasses.asdict(self), "memory": memory, "fits": self.fits}


def plan(config: TrainConfig, topology: str, *, remat: Remat = "config") -> Plan:
    """Compiles the training step of `config` for a topology and reads off what it costs.

      plan(load_config("configs/in1k.py"), "v5e:4x4").memory.total

    Args:
      config: with `model.num_classes`; its data is not opened, its device count is not used.
      topology: "v5e:4x4" and the like of v4, v5e, v5p and v6e, "gpu:8" or "cpu:8".
      remat: "config" does what the configuration says; "auto" takes the policy that computes
        least again among those that fit.

    Raises:
      PlanError: for an unknown topology, or a batch that its chips do not divide.
    """
    found = find_topology(topology)
    if remat == "config":
        return _compiled(config, found)
    plans = (_compiled(_with_remat(config, policy), found) for policy in _CHEAPEST_FIRST)
    return next(each for each in plans if each.fits is not False or each.remat == "blocks")


def _with_remat(config: TrainConfig, remat: str) -> TrainConfig:
    return dataclasses.replace(config, model=config.model.with_options(remat=remat))


def _compiled(config: TrainConfig, topology: Topology) -> Plan:
    classes = config.model.num_classes
    if classes is None:
        raise PlanError("model.num_classes is None; give it, since a plan opens no data")
    scan = config.model.options["scan"]
    scan = topology.kind != "cpu" if scan is None else scan
    mesh_config = dataclasses.replace(config.mesh, devices=None)
    config = dataclasses.replace(
        config, model=config.model.with_options(scan=scan), mesh=mesh_config
    )
    mesh = make_mesh(mesh_config, topology.devices)
    shares = mesh.shape["data"] * config.optimizer.accumulate_steps
    if config.data.batch_size % shares:
        raise PlanError(
            f"data.batch_size={config.data.batch_size} does not divide among {shares} shares of "
            f"{topology.text}; give a multiple of {shares}"
        )
    model, step = build_step(config, classes, _ANY_NUMBER_OF_STEPS, mesh)
    state = abstract_state(step, split(model)[1], mesh)
    size = (*config.preprocessing.image_size, config.preprocessing.channels)
    batch = {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(mesh))
        for name, shape, dtype in (
            ("image", (config.data.batch_size, *size), jnp.uint8),
            ("label", (config.data.batch_size,), jnp.int32),
        )
    }
    stored = jax.tree.map(lambda leaf: leaf.sharding, state)
    program = jax.jit(step, donate_argnums=0, out_shardings=(stored, replicated(mesh)))
    started = time.perf_counter()
    compiled = program.lower(state, batch).compile()
    seconds = time.perf_counter() - started
    analysis, costs, text = (
        compiled.memory_analysis(), compiled.cost_analysis(), compiled.as_text()
    )  # fmt: skip
    if analysis is None or costs is None or text is None:
        raise PlanError(f"the compiler of {topology.text} does not say what a program costs")
    parameters = _bytes(state.params)
    memory = Memory(
        parameters=parameters,
        optimizer=_bytes(state) - parameters,
        batch=_bytes(batch),
        temporary=analysis.temp_size_in_bytes,
        program=analysis.generated_code_size_in_bytes,
    )
    told = collectives(text)
    local = config.data.batch_size // mesh.shape["data"]
    flops = 6.0 * count_macs(model, size) * local / config.mesh.model
    return _priced(config, topology, memory, flops, costs["bytes accessed"], told, local, seconds)


def _priced(
    config: TrainConfig,
    topology: Topology,
    memory: Memory,
    flops: float,
    bytes_moved: float,
    told: dict[str, Collective],
    local: int,
    compile_seconds: float,
) -> Plan:
    chip = topology.chip
    sent = link_bytes(told, len(topology.devices))
    seconds, capacity, largest = {}, None, None
    if chip is not None:
        capacity = int(chip.memory)
        growing = memory.batch + memory.temporary
        largest = max(0, math.floor(local * (capacity - memory.total + growing) / growing))
        # A ring sends both ways at once.
        seconds = {
            "compute": flops / chip.flops,
            "memory": bytes_moved / chip.bandwidth,
            "links": sent / (2 * chip.link),
        }
    return Plan(
        arch=config.model.arch,
        topology=topology.text,
        chips=topology.count,
        native=topology.native,
        batch_size=config.data.batch_size,
        chip_batch=local,
        remat=config.model.options["remat"],
        scan=bool(config.model.options["scan"]),
        compiler=topology.compiler,
        memory=memory,
        capacity=capacity,
        flops=flops,
        bytes_moved=bytes_moved,
        collectives=told,
        link_bytes=sent,
        seconds=seconds,
        largest_batch=largest,
        compile_seconds=compile_seconds,
    )


def link_bytes(told: dict[str, Collective], devices: int) -> float:
    """Bytes that one device sends when every collective is a ring over all `devices`.

    (n - 1) / n of the result of a gather or exchange, twice that of a sum, and n - 1 times the
    result of a scattered sum, which is a part of what was summed.
    """
    share = (devices - 1) / devices
    rings = {"all-reduce": 2 * share, "reduce-scatter": devices - 1, "collective-permute": 1.0}
    return sum(found.bytes * rings.get(kind, share) for kind, found in told.items())


def _bytes(tree: Any) -> int:
    def on_one(leaf: jax.ShapeDtypeStruct) -> int:
        sharding = leaf.sharding
        shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(on_one(leaf) for leaf in jax.tree.leaves(tree))
