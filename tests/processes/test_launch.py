"""How a process learns of the others, and how it ends when it can not end itself."""

import signal
import subprocess
import sys

import pytest

from tests.processes.runs import environment
from zoo.processes import Launch, LaunchError, read_launch

PLAIN = {"ZOO_COORDINATOR": "host0:8476", "ZOO_PROCESSES": "4", "ZOO_PROCESS_ID": "3"}
SLURM = {"SLURM_NTASKS": "16", "SLURM_PROCID": "5", "SLURM_STEP_NODELIST": "node[1-2]"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_MCA_orte_hnp_uri": "1;tcp://h:1"
}  # fmt: skip


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        (PLAIN, Launch("host0:8476", 4, 3)),
        ({**PLAIN, "ZOO_STALL_SECONDS": "9"}, Launch("host0:8476", 4, 3, stall_seconds=9)),
        ({**PLAIN, "ZOO_PROCESSES": "1", "ZOO_PROCESS_ID": "0"}, None),
        (SLURM, Launch(processes=16, process_id=5, cluster="slurm")),
        ({**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        ({"SLURM_NTASKS": "16"}, None),  # in the batch script, before srun
        ({**SLURM, **PLAIN}, Launch("host0:8476", 4, 3)),
        (OPEN_MPI, Launch(processes=2, process_id=1, cluster="ompi")),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "TPU_WORKER_ID": "1"}, Launch()),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
    ],
)
def test_a_launch_is_read_from_the_environment(variables, expected):
    assert read_launch({"JAX_PLATFORMS": "cpu", **variables}) == expected


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"ZOO_PROCESS_ID": ""}, "ZOO_COORDINATOR, ZOO_PROCESSES is set, but not ZOO_PROCESS_ID"),
        ({"ZOO_PROCESS_ID": "4"}, "numbered from 0 to 3"),
        ({"ZOO_PROCESSES": "many"}, "ZOO_PROCESSES='many'; give a whole number >= 1"),
        ({"ZOO_COORDINATOR": "host0"}, "give HOST:PORT of process 0"),
        ({"ZOO_HEARTBEAT_SECONDS": "0"}, "ZOO_HEARTBEAT_SECONDS='0'"),
    ],
)
def test_a_launch_that_makes_no_sense_is_refused(change, match):
    with pytest.raises(LaunchError, match=match):
        read_launch({**PLAIN, **change})


ENDS = """
import os, signal, sys, time
from zoo.processes import Launch, supervised
def work(together):
    if sys.argv[1] == "sleep":
        print(os.getpid(), flush=True)
        time.sleep(60)
    os.kill(os.getpid(), int(sys.argv[1]))
sys.exit(supervised(Launch("host0:1", 4, 3, join_seconds=7), work))
"""


def _ended(by: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENDS, by], env=environment(), capture_output=True, text=True
    )


@pytest.mark.fault("D8")
@pytest.mark.parametrize(
    ("number", "code", "sentence"),
    [
        (signal.SIGABRT, 75, "process 3 of 4 did not find the others at host0:1 within 7 s"),
        (signal.SIGTERM, 75, "process 3 of 4 was stopped before it could save"),
        (signal.SIGSEGV, 139, "process 3 of 4 was ended by SIGSEGV"),
    ],
)
def test_every_end_has_a_sentence_and_a_code(number, code, sentence):
    ended = _ended(str(int(number)))
    assert ended.returncode == code and sentence in ended.stderr


def test_the_child_ends_with_its_killed_parent():
    parent = subprocess.Popen(
        [sys.executable, "-c", ENDS, "sleep"], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None and int(parent.stdout.readline()) > 0
    parent.kill()
    # The pipe is closed when the last process that holds it is gone.
    assert parent.communicate(timeout=20)[0] == ""


STALLS = """
import time
from zoo.processes.watchdog import Watchdog
with Watchdog(0.5, "process 1 of 2") as watchdog:
    for _ in range(4):
        time.sleep(0.25)
        watchdog.beat()
    print("moves", flush=True)
    time.sleep(60)
"""


@pytest.mark.fault("D9")
def test_a_process_that_stalls_is_ended():
    ended = subprocess.run(
        [sys.executable, "-c", STALLS], env=environment(), capture_output=True, text=True
    )
    assert ended.returncode == 75 and ended.stdout == "moves\n"
    assert "process 1 of 2 has waited for 0.5 s (ZOO_STALL_SECONDS)" in ended.stderr
