"""oneDNN for this process: found in its wheels, compiled against once, loaded, known to XLA."""

import ctypes
import functools
import hashlib
import importlib.metadata
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

from zoo.kernels.products import TARGET
from zoo.transfer import cache_home

_SOURCE = Path(__file__).with_name("products.cc")
_LIBRARY, _HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
_OPTIONS = ("-std=c++17", "-O2", "-march=native", "-fopenmp", "-shared", "-fPIC", "-w")
_COMPILE_SECONDS = 1800  # it takes five, on a core of its own
# Threads that wait in a loop take the core that another one needs to finish. Read by the OpenMP
# library when it is loaded; what is set already stays.
_PASSIVE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
_log = logging.getLogger("zoo.kernels")


class NoKernelsError(ValueError):
    """oneDNN cannot be used here; the message says why and what to do."""


@functools.cache
def load_onednn() -> str:
    """Makes the custom calls of `products.cc` known to XLA, once in a process.

    The first time on a machine it compiles them, about five seconds, into the cache.

    Returns:
      The version of oneDNN.

    Raises:
      NoKernelsError: what is missing, or what the compiler said.
    """
    library, compiled = compiled_calls()
    for variable, value in _PASSIVE.items():
        os.environ.setdefault(variable, value)
    try:
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        calls = ctypes.CDLL(str(compiled))
    except OSError as error:
        raise NoKernelsError(f"{error}; remove {compiled} to compile it again") from error
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(calls.ZooMultiply), platform="cpu")
    calls.ZooOneDnnVersion.restype = ctypes.c_char_p
    return calls.ZooOneDnnVersion().decode()


def compiled_calls() -> tuple[Path, Path]:
    """oneDNN's library, and the custom calls: compiled, if the cache has not got them.

    Raises:
      NoKernelsError: what is missing, or what the compiler said.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise NoKernelsError(f"there is no wheel for {sys.platform} on {platform.machine()}")
    library, header = _installed(_LIBRARY, "libdnnl.so.3"), _installed(_HEADERS, "dnnl.hpp")
    compiler = os.environ.get("CXX") or "g++"
    versions = [importlib.metadata.version(name) for name in ("jaxlib", _LIBRARY, _HEADERS)]
    sources = [path.read_text() for path in sorted(_SOURCE.parent.glob("*.[ch]*"))]
    parts = [*sources, *_OPTIONS, compiler, _instructions(), *versions]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    target = cache_home() / "kernels" / f"onednn-{digest}.so"
    if not target.is_file():
        _compile(compiler, header.parent, library, target)
    return library, target


def _instructions() -> str:
    """What this processor can do, which the compiler makes use of."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line for line in lines if line.startswith("flags")), "")


def _installed(distribution: str, name: str) -> Path:
    """A file that a wheel brought."""
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [Path(file.locate()).resolve() for file in files if file.name == name]
    if not found or not found[0].is_file():
        raise NoKernelsError(
            f"{distribution} is not installed; run: pip install 'flax-vanilla-zoo[cpu]'"
        )
    return min(found, key=lambda path: len(path.parts))


def _compile(compiler: str, headers: Path, library: Path, target: Path) -> None:
    """Writes the shared library `target`: whole, or not at all."""
    if shutil.which(compiler) is None:
        raise NoKernelsError(f"there is no C++ compiler {compiler!r}; install g++ or set CXX")
    includes = [f"-I{jax.ffi.include_dir()}", f"-I{headers}"]
    _log.info("compiling the oneDNN kernels, once on this machine")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / target.name
            command = [compiler, *_OPTIONS, *includes, str(_SOURCE), "-o", str(made), str(library)]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=False
            )
            if done.returncode:
                said = done.stderr.strip().splitlines() or ["it said nothing"]
                raise NoKernelsError(f"{compiler} failed: {said[0]}")
            os.replace(made, target)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoKernelsError(f"the kernels could not be compiled: {error}") from error
