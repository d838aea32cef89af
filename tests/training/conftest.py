"""Quick compilation for this folder: its runs are short and share a handful of programs."""

import contextlib
import os

import jax
import jax.monitoring
import pytest

_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0.2,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@pytest.fixture(scope="package", autouse=True)
def compilation_cache(tmp_path_factory):
    """Folder of compiled programs; optimising them would take longer than running them."""
    folder = str(tmp_path_factory.mktemp("compilations"))
    settings = {**_SETTINGS, "jax_compilation_cache_dir": folder}
    before = {name: getattr(jax.config, name) for name in settings}
    before["jax_disable_most_optimizations"] = bool(
        os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS")
    )
    for name, value in {**settings, "jax_disable_most_optimizations": True}.items():
        jax.config.update(name, value)
    yield folder
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def count_compilations():
    """A context manager giving a list that grows by one with every compilation inside it."""

    @contextlib.contextmanager
    def counting():
        seen = []

        def listen(event, duration, **_):
            if event == "/jax/core/compile/backend_compile_duration":
                seen.append(duration)

        jax.monitoring.register_event_duration_secs_listener(listen)
        try:
            yield seen
        finally:
            jax.monitoring.unregister_event_duration_listener(listen)

    return counting
