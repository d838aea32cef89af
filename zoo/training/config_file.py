"""A configuration from a Python file."""

import importlib.util
import inspect
from pathlib import Path

from zoo.training.config import TrainConfig
from zoo.training.decode import ConfigError


def load_config(path: str | Path, arch: str | None = None) -> TrainConfig:
    """Runs a configuration file and returns what its `get_config()` gives.

    Args:
      path: a Python file such as `configs/digits.py` that defines `get_config() -> TrainConfig`,
        or `get_config(arch)` where more than the id differs between networks.
      arch: id of the network for a `get_config` that takes one; None leaves the file its own.

    Raises:
      ConfigError: if the file is missing, defines no `get_config`, or returns something else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        near = ", ".join(sorted(str(p) for p in path.parent.glob("*.py"))) or "none"
        raise ConfigError(f"no configuration file {path}; Python files beside it: {near}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise ConfigError(f"{path} defines no get_config(); add `def get_config() -> TrainConfig`")
    takes_arch = "arch" in inspect.signature(module.get_config).parameters
    config = module.get_config(arch) if arch and takes_arch else module.get_config()
    if not isinstance(config, TrainConfig):
        raise ConfigError(
            f"get_config() of {path} returned {type(config).__name__}, not TrainConfig"
        )
    return config
