"""When oneDNN is taken, what is said when it is not, and that it is compiled once."""

import jax
import jax.export
import jax.numpy as jnp
import pytest

from tests.conftest import json_from_8_devices
from zoo.kernels import Kernels, NoKernelsError, choose_kernels, library


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A process that has not looked for oneDNN, and an empty cache."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    library.load_onednn.cache_clear()
    yield tmp_path
    library.load_onednn.cache_clear()


def test_compiled_once_into_the_cache(onednn, fresh):
    _, compiled = library.compiled_calls()
    assert [*(fresh / "kernels").iterdir()] == [compiled]
    written = compiled.stat().st_mtime_ns
    assert library.compiled_calls()[1].stat().st_mtime_ns == written


def test_taken_where_it_is_there(onednn):
    chosen = choose_kernels("auto", jax.devices())
    assert chosen == choose_kernels("onednn", jax.devices())
    assert str(chosen).startswith("oneDNN 3.")


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("no-such-compiler", "no C\\+\\+ compiler 'no-such-compiler'"), ("false", "false failed")],
)
def test_without_a_compiler_xla_computes_and_the_reason_is_said(
    onednn, fresh, monkeypatch, compiler, reason
):
    monkeypatch.setenv("CXX", compiler)
    chosen = choose_kernels("auto", jax.devices())
    assert str(chosen) == "XLA"
    assert chosen.description.startswith("XLA (oneDNN is left out: ")
    with pytest.raises(NoKernelsError, match=reason):
        choose_kernels("onednn", jax.devices())


def test_without_the_wheels_the_extra_is_named(fresh, monkeypatch):
    monkeypatch.setattr(library, "_LIBRARY", "no-such-wheel")
    monkeypatch.setattr(library.sys, "platform", "linux")
    monkeypatch.setattr(library.platform, "machine", lambda: "x86_64")
    with pytest.raises(NoKernelsError, match=r"pip install 'flax-vanilla-zoo\[cpu\]'"):
        choose_kernels("onednn", jax.devices())


def test_on_other_systems_xla_computes(fresh, monkeypatch):
    monkeypatch.setattr(library.platform, "machine", lambda: "aarch64")
    assert "no wheel for" in choose_kernels("auto", jax.devices()).reason


def test_xla_is_taken_when_asked_for_and_nothing_is_said():
    assert choose_kernels("xla", jax.devices()) == Kernels()
    assert Kernels().description == "XLA"
    with pytest.raises(ValueError, match="allowed: auto, xla, onednn"):
        choose_kernels("mkl", jax.devices())


def test_plain_kernels_leave_a_function_alone():
    assert Kernels().applied(jnp.sin) is jnp.sin


def test_several_devices_are_computed_by_xla():
    code = (
        "import jax, json\n"
        "from zoo.kernels import choose_kernels\n"
        "print(json.dumps(choose_kernels('auto', jax.devices()).description))\n"
    )
    assert "it computes on one device, these are 8" in json_from_8_devices(code)
