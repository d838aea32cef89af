"""How this process was started as one of several, and joining the others.

Read from the environment: ZOO_COORDINATOR, ZOO_PROCESSES and ZOO_PROCESS_ID, or what SLURM, Open
MPI or Cloud TPU set. Nothing here looks for devices before the processes have joined.
"""

import contextlib
import dataclasses
import glob
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping

from zoo.processes.errors import LaunchError, lost_process

_PLAIN = ("ZOO_COORDINATOR", "ZOO_PROCESSES", "ZOO_PROCESS_ID")
# JAX's name of a launcher -> what it sets: number of processes, number of this one. What JAX needs
# besides is set by the same launcher.
_CLUSTERS = {
    "slurm": ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST"),
    "ompi": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_MCA_orte_hnp_uri"),
}
_TPU_HOSTS = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
_TPU_DEVICES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")


@dataclasses.dataclass(frozen=True)
class Launch:
    """One of several processes that form a run.

    Attributes:
      coordinator: HOST:PORT at which process 0 answers; None where JAX finds it.
      processes: how many there are; None where JAX finds out.
      process_id: number of this one, from 0.
      cluster: JAX's name of the launcher that told it; None for the ZOO_ variables and Cloud TPU.
      join_seconds: how long to wait for the others at the start.
      heartbeat_seconds: a process that gives no sign of life for so long is lost.
      stall_seconds: a step that takes longer ends the process, since it waits for ever.
    """

    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None
    cluster: str | None = None
    join_seconds: int = 300
    heartbeat_seconds: int = 30
    stall_seconds: int = 600

    @property
    def name(self) -> str:
        """This process in words, counted from 0."""
        if self.processes is None:
            return "this process"
        return f"process {self.process_id} of {self.processes}"


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """How this process was started; None if it is alone.

    Raises:
      LaunchError: if the variables contradict each other, or one is missing.
    """
    told = _plain(environment) or _cluster(environment) or _cloud_tpu(environment)
    if told is None or told.processes == 1:
        return None
    return dataclasses.replace(
        told,
        join_seconds=_seconds(environment, "ZOO_JOIN_SECONDS", told.join_seconds),
        heartbeat_seconds=_seconds(environment, "ZOO_HEARTBEAT_SECONDS", told.heartbeat_seconds),
        stall_seconds=_seconds(environment, "ZOO_STALL_SECONDS", told.stall_seconds),
    )


@contextlib.contextmanager
def joined(launch: Launch, announce: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """While open, JAX sees the devices of all processes; gives whether this one is the first.

    Ends together with the others where all come to the end: without an exception, or with one
    whose attribute `together` says that all raise it. After any other exception this process is
    still joined and should end at once, without waiting for the others.

    Args:
      launch: of this process.
      announce: called when the processes have joined.

    Raises:
      LostProcessError: in place of what JAX raises when another process is gone.
    """
    import jax

    if not _join(launch):
        yield True
        return
    announce()
    try:
        yield jax.process_index() == 0
    except Exception as error:
        if getattr(error, "together", False):
            jax.distributed.shutdown()
        elif (lost := lost_process(error, launch.name)) is not None:
            raise lost from error
        raise
    jax.distributed.shutdown()


def _join(launch: Launch) -> bool:
    import jax

    # Its handler would take SIGTERM away from the training loop, which asks all processes itself.
    jax.config.update("jax_enable_preemption_service", False)
    where: dict[str, object] = {"cluster_detection_method": launch.cluster}
    if launch.coordinator is not None:
        where = {
            "coordinator_address": launch.coordinator,
            "num_processes": launch.processes,
            "process_id": launch.process_id,
            "cluster_detection_method": "deactivate",
        }
    try:
        jax.distributed.initialize(
            **where,  # pyrefly: ignore[bad-argument-type]
            initialization_timeout=launch.join_seconds,
            heartbeat_timeout_seconds=launch.heartbeat_seconds,
        )
    except ValueError as error:
        if "coordinator_address should be defined" in str(error):
            return False  # a TPU host that belongs to no pod
        raise
    return True


def _plain(environment: Mapping[str, str]) -> Launch | None:
    given = [name for name in _PLAIN if environment.get(name)]
    if not given:
        return None
    if len(given) < len(_PLAIN):
        missing = ", ".join(name for name in _PLAIN if name not in given)
        raise LaunchError(
            f"{', '.join(given)} is set, but not {missing}; set all three, for instance "
            "ZOO_COORDINATOR=host0:8476 ZOO_PROCESSES=2 ZOO_PROCESS_ID=0, or none"
        )
    coordinator = environment["ZOO_COORDINATOR"]
    if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdecimal():
        raise LaunchError(
            f"ZOO_COORDINATOR={coordinator!r}; give HOST:PORT of process 0, such as host0:8476"
        )
    processes = _number(environment, "ZOO_PROCESSES", least=1)
    process_id = _number(environment, "ZOO_PROCESS_ID", least=0)
    if process_id >= processes:
        raise LaunchError(
            f"ZOO_PROCESS_ID={process_id} with ZOO_PROCESSES={processes}; the processes are "
            f"numbered from 0 to {processes - 1}"
        )
    return Launch(coordinator, processes, process_id)


def _cluster(environment: Mapping[str, str]) -> Launch | None:
    for cluster, names in _CLUSTERS.items():
        if all(environment.get(name) for name in names):
            processes = _number(environment, names[0], least=1)
            process_id = _number(environment, names[1], least=0)
            return Launch(processes=processes, process_id=process_id, cluster=cluster)
    return None


def _cloud_tpu(environment: Mapping[str, str]) -> Launch | None:
    if any("," in environment.get(name, "") for name in _TPU_HOSTS):
        return Launch()
    is_tpu_host = any(glob.glob(pattern) for pattern in _TPU_DEVICES)
    wants_tpu = "cpu" not in environment.get("JAX_PLATFORMS", "")
    has_library = importlib.util.find_spec("libtpu") is not None
    return Launch() if is_tpu_host and wants_tpu and has_library else None


def _seconds(environment: Mapping[str, str], name: str, default: int) -> int:
    return _number(environment, name, least=1) if environment.get(name) else default


def _number(environment: Mapping[str, str], name: str, *, least: int) -> int:
    text = environment[name]
    if not text.isdecimal() or int(text) < least:
        raise LaunchError(f"{name}={text!r}; give a whole number >= {least}")
    return int(text)
