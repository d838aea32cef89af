"""Training recipes by name; they come with the package, `configs/` shows how to change one.

A recipe is a module with `get_config(arch) -> TrainConfig`: what differs between networks beside
their id (a learning rate, clipping) is decided there, so that `zoo train --recipe digits
--model.arch ID` trains every network as it should be.
"""

import difflib
import importlib
import pkgutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # listing the recipes needs no JAX
    from zoo.training import TrainConfig

__all__ = ["RECIPES", "load_recipe"]

_OTHERS = ("networks", "sweeps")
RECIPES = tuple(
    sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _OTHERS)
)
"""Every module here but those that recipes share."""


def load_recipe(name: str, arch: str | None = None) -> "TrainConfig":
    """The configuration of a recipe.

      config = load_recipe("digits", "resnet50")

    Args:
      name: one of `RECIPES`.
      arch: id of the network; None takes the recipe's own.

    Raises:
      ConfigError: if there is no such recipe; names the nearest.
    """
    if name not in RECIPES:
        from zoo.training import ConfigError

        near = difflib.get_close_matches(name, RECIPES, n=1, cutoff=0.4)
        hint = f"; nearest: {near[0]}" if near else ""
        raise ConfigError(f"no recipe {name!r}{hint}; all: {', '.join(RECIPES)}")
    recipe = importlib.import_module(f"zoo.recipes.{name}")
    return recipe.get_config() if arch is None else recipe.get_config(arch)
