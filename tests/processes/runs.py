"""Commands run as several real processes on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY
from zoo.checkpoint import list_steps
from zoo.training import read_metrics

LOCAL = REPOSITORY / "tools" / "launch" / "local.sh"
ZOO = (sys.executable, "-m", "zoo")
# Short: what is measured is what follows the silence of a process, not the silence.
HEARTBEAT_SECONDS = 10


def environment(devices: int = 1, **variables: Any) -> dict[str, str]:
    """For processes with so many devices each, quickly compiled."""
    return {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "ZOO_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
        **{name: str(value) for name, value in variables.items()},
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


class Processes:
    """`count` processes of one command, with the output of each."""

    def __init__(self, folder: Path, count: int, *args: Any, devices: int = 1, **variables: Any):
        folder.mkdir(parents=True, exist_ok=True)
        joint = {"ZOO_COORDINATOR": f"localhost:{free_port()}", "ZOO_PROCESSES": count}
        self.errors = [folder / f"stderr-{k}" for k in range(count)]
        self.outputs = [folder / f"stdout-{k}" for k in range(count)]
        self.all = [
            self._start(k, args, environment(devices, **joint, ZOO_PROCESS_ID=k, **variables))
            for k in range(count)
        ]

    def _start(self, number: int, args: Any, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        with self.outputs[number].open("w") as out, self.errors[number].open("w") as err:
            command = [*ZOO, *map(str, args)]
            return subprocess.Popen(command, cwd=REPOSITORY, env=variables, stdout=out, stderr=err)

    def codes(self, timeout: float = 300) -> list[int]:
        """Exit codes of all."""
        deadline = time.monotonic() + timeout
        try:
            return [process.wait(deadline - time.monotonic()) for process in self.all]
        finally:
            for process in self.all:
                process.kill()
                process.wait()

    def said(self, number: int) -> str:
        """Standard error of one process."""
        return self.errors[number].read_text()

    def answer(self) -> str:
        """The last line of standard output of process 0."""
        return self.outputs[0].read_text().splitlines()[-1]


def wait_for_step(workdir: Path, step: int) -> None:
    """Returns once the log of a run has reached `step`."""
    _wait(lambda: any(line["step"] >= step for line in read_metrics(workdir)), workdir)


def wait_for_checkpoint(workdir: Path) -> None:
    """Returns once a run has finished saving a step, which it does while it goes on."""
    _wait(lambda: (workdir / "checkpoints").is_dir() and bool(list_steps(workdir)), workdir)


def _wait(done: Callable[[], bool], workdir: Path, timeout: float = 300) -> None:
    deadline = time.monotonic() + timeout
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{workdir} did not come so far in {timeout:g} s")
        time.sleep(0.01)


def kill_process(launcher: int, number: int) -> None:
    """Kills the process with this number among the children of a launcher."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    marked = f"ZOO_PROCESS_ID={number}".encode()
    (child,) = (
        pid for pid in children if marked in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    )
    os.kill(int(child), signal.SIGKILL)
