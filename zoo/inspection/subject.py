"""What is inspected: an id, a weight, or a network of the user's by its import path."""

import dataclasses
import functools
import importlib
from collections.abc import Callable
from typing import Any

from flax import nnx

from zoo.classifier import Classifier
from zoo.data import Preprocessing
from zoo.inspection.taps import Network
from zoo.models import Network as ZooNetwork
from zoo.models import create_model, list_models, rebuilt
from zoo.models.shape import reinitialise
from zoo.pretrained.address import PREFIXES
from zoo.shaping import NotShapableError, kernel_graph
from zoo.shaping.assumptions import Assumption


@dataclasses.dataclass(frozen=True)
class Subject:
    """A network and how its weights are drawn.

    Attributes:
      name: for titles.
      network: as it is.
      shape: of its input, batch axis first.
      draw: seed -> the network with fresh weights; None if only these weights can be had.
      is_trained: whether the weights were trained, so that predictions are not about them.
      preprocess: how images are brought to it; None where that is not known.
      delta: whether drawn convolutions begin by their centre tap alone.
      full_shape: of an input of the size that the network is for.
    """

    name: str
    network: Network
    shape: tuple[int, ...]
    draw: Callable[[int], Network] | None
    is_trained: bool = False
    preprocess: Preprocessing | None = None
    delta: bool = False
    full_shape: tuple[int, ...] = ()

    def assumptions(self) -> tuple[Assumption, ...]:
        """What its kernel maps take for granted; none where it has no maps."""
        try:
            return kernel_graph(
                self.network, self.full_shape or self.shape, delta=self.delta
            ).assumptions
        except NotShapableError:
            return ()


def subject_of(model_or_id: Any, shape: tuple[int, ...] | None = None) -> Subject:
    """The subject that an id, a weight, `package.module:name` or a network stands for.

    A name in a module is a network, a pair (network, input shape), or a function that returns
    one of them.

    Raises:
      ValueError: if it cannot be found, or the shape of its input is not known.
    """
    name = model_or_id if isinstance(model_or_id, str) else type(model_or_id).__name__
    network, trained, preprocess = model_or_id, False, None
    if isinstance(model_or_id, str) and model_or_id in list_models():
        network = create_model(model_or_id)
    elif isinstance(model_or_id, str) and _is_import_path(model_or_id):
        network, shape = _imported(model_or_id, shape)
    elif isinstance(model_or_id, str):
        from zoo.pretrained import load_pretrained

        network = load_pretrained(model_or_id)
    if isinstance(network, Classifier):
        network, preprocess, trained = network.network, network.preprocess, True
    if isinstance(network, ZooNetwork):
        # With initial weights a convolution sees one location, so few pixels show all of it.
        config, draw = network.config, functools.partial(_rebuilt, network)
        side, full = config.smallest_image_size, config.image_size
        shape = shape or (1, side, side, config.in_channels)
        full_shape = (1, full, full, config.in_channels)
        delta = config.begins_as_delta
        return Subject(name, network, shape, draw, trained, preprocess, delta, full_shape)
    if shape is None:
        raise ValueError(
            f"{name} does not say the shape of its input; give one, batch axis first, or let "
            "the function return (network, shape)"
        )
    if isinstance(network, nnx.Module):
        draw = functools.partial(_drawn, network, shape)
        return Subject(name, network, shape, draw, delta=True)
    if not callable(network):
        raise ValueError(f"{name} is no network; allowed: an NNX module or a function")
    return Subject(name, network, shape, None)


def _rebuilt(network: ZooNetwork, seed: int) -> Network:
    return rebuilt(network, seed=seed)


def _drawn(network: nnx.Module, shape: tuple[int, ...], seed: int) -> nnx.Module:
    return reinitialise(network, shape, seed=seed)


def _is_import_path(text: str) -> bool:
    module, colon, name = text.partition(":")
    if f"{module}{colon}" in PREFIXES:
        return False
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), name])


def _imported(path: str, shape: tuple[int, ...] | None) -> tuple[Any, tuple[int, ...] | None]:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot import {path}: {error}; write package.module:function") from None
    if callable(found) and not isinstance(found, nnx.Module):
        found = found()
    if isinstance(found, tuple) and len(found) == 2:
        return found[0], tuple(found[1])
    return found, shape
