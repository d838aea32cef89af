"""Memory that is freed is used again without asking the system for its pages."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from zoo.cpu import memory

PAGES = 64 * 2**20 // 4096
# Of a thread other than the first, as XLA's are, in which glibc keeps no large piece by itself.
FAULTS = """
import json, resource, threading
import zoo

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    large = b"x" * (64 * 2**20)
    del large
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = []
thread = threading.Thread(target=lambda: found.extend(faults() for _ in range(3)))
thread.start()
thread.join()
print(json.dumps([zoo.cpu.prepare().memory, found]))
"""


def _faults(**variables):
    """What was done about memory, and page faults of the last of three equal pieces."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, cwd=REPOSITORY,
        env={**clean, "JAX_PLATFORMS": "cpu", "ZOO_CPU_GUARD": "", **variables}, check=True,
    )  # fmt: skip
    state, faults = json.loads(done.stdout)
    return state, faults[-1]


@pytest.mark.skipif(not memory._is_glibc(), reason="glibc alone is told to keep memory")
def test_a_large_piece_is_taken_from_the_system_once():
    state, faults = _faults()
    assert state == "kept" and faults < PAGES / 100


@pytest.mark.skipif(not memory._is_glibc(), reason="glibc alone is told to keep memory")
@pytest.mark.parametrize(
    ("variables", "state"),
    [
        ({"MALLOC_ARENA_MAX": "4"}, "the user's settings"),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=4"}, "the user's settings"),
        ({"JAX_PLATFORMS": "cuda,cpu"}, "not needed"),
        ({"ZOO_CPU_GUARD": "off"}, "off"),
    ],
)
def test_the_allocator_is_left_alone_where_it_should_be(variables, state):
    found, faults = _faults(**variables)
    assert found == state and faults > PAGES / 2


def test_another_allocator_is_left_alone(monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: None)
    assert memory.keep_memory({}) == "other allocator"
