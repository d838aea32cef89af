"""The guard sets what cures JAX, keeps what the user set, and refuses where it came too late."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from zoo.cpu import flags

OFF = "--xla_cpu_experimental_ynn_fusion_type="
FLAGS = "import os, zoo; print(zoo.cpu.prepare().flag, os.environ.get('XLA_FLAGS', ''))"
BUILD = "zoo.create_model('vanilla_resnet50_tat_lrelu', abstract=True, width=0.125); print('built')"
# Starts the backend, as whatever computes does, before `zoo` can say anything.
LATE = f"import jax; jax.devices(); import zoo; print(zoo.cpu.prepare().flag); {BUILD}"


def _python(code: str, **variables: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=120,
        env={**environment, "JAX_PLATFORMS": "cpu", "ZOO_CPU_GUARD": "", **variables},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "state", "left"),
    [
        (None, "added", OFF),
        ("--xla_cpu_enable_fast_math=false", "added", f"--xla_cpu_enable_fast_math=false {OFF}"),
        (f"{OFF}-reduce", "kept", f"{OFF}-reduce"),
        (f"--xla_dump_to=/tmp/x {OFF}", "kept", f"--xla_dump_to=/tmp/x {OFF}"),
        (f"{OFF} {OFF}+reduce", "other value", f"{OFF} {OFF}+reduce"),
        (f"{OFF}dot", "other value", f"{OFF}dot"),
        ("flags.txt", "file", "flags.txt"),
        ("--xla_cpu_experimental_ynn_fusion_types=dot", "added",
         f"--xla_cpu_experimental_ynn_fusion_types=dot {OFF}"),
    ],
)  # fmt: skip
def test_the_flag_is_added_where_the_user_says_nothing_about_it(given, state, left, monkeypatch):
    monkeypatch.setattr(flags, "_jax_has_started", lambda: False)
    environment = {} if given is None else {"XLA_FLAGS": given}
    assert (flags.set_flag(environment), environment["XLA_FLAGS"]) == (state, left)


@pytest.mark.parametrize("version", [(), (0, 8), (0, 13), (1, 0)])
def test_no_flag_is_given_to_a_jaxlib_that_may_not_know_it(version, monkeypatch):
    monkeypatch.setattr(flags, "_jax_has_started", lambda: False)
    monkeypatch.setattr(flags, "_jaxlib_version", lambda: version)
    environment = {"XLA_FLAGS": "--xla_dump_to=x"}
    assert flags.set_flag(environment) == "other jaxlib"
    assert environment == {"XLA_FLAGS": "--xla_dump_to=x"}


def test_a_child_process_keeps_what_its_parent_added():
    code = f"import subprocess, sys, zoo; subprocess.run([sys.executable, '-c', {FLAGS!r}])"
    assert _python(code).stdout == f"kept {OFF}\n"


def test_jax_may_be_imported_before_zoo_as_long_as_it_computes_nothing():
    assert _python(f"import jax; {FLAGS}").stdout == f"added {OFF}\n"


def test_a_backend_that_started_too_early_is_refused_with_what_to_do():
    done = _python(LATE)
    assert done.stdout == "late\n" and done.returncode == 1
    sentence = done.stderr.splitlines()[-1]
    assert sentence.startswith("zoo.cpu.WrongResultsError: JAX computes wrongly here: ")
    assert sentence.endswith(f"import zoo before JAX computes, or with XLA_FLAGS={OFF}")


def test_a_backend_that_started_early_but_right_is_not_refused():
    assert _python(LATE, XLA_FLAGS=f"{OFF}-reduce").stdout == "late\nbuilt\n"


def test_the_command_refuses_a_value_that_computes_wrongly_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "info", "vanilla_resnet50_tat_lrelu"], text=True,
        capture_output=True, cwd=REPOSITORY, timeout=120,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{OFF}+reduce"},
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("zoo: JAX computes wrongly here: 'fused product sum'")


def test_the_guard_can_be_switched_off():
    assert _python(FLAGS, ZOO_CPU_GUARD="off").stdout == "off \n"
