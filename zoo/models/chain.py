"""A network without shortcuts as what it is: a list of layers, one after the other."""

import dataclasses
from collections.abc import Iterator

from zoo.models.layers import Conv
from zoo.models.network import Network
from zoo.models.resnet import ResNet


class NotAChainError(ValueError):
    """The network adds signal paths, or is of a family whose layers are not known here."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer of a chain.

    Attributes:
      kind: per_location, conv, activation, max_pool, mean (over locations), flatten or dense.
      params: prefix of its parameters' names (`split`), "" if it has none.
      inputs, outputs: channels of conv and dense.
      kernel_size, stride: of conv and max_pool; the padding is kernel_size // 2 on every side.
    """

    kind: str
    params: str = ""
    inputs: int = 0
    outputs: int = 0
    kernel_size: int = 0
    stride: int = 1


def chain_of(model: Network) -> list[Layer]:
    """The layers of a vanilla network in order, from normalised images to logits.

    Raises:
      NotAChainError: for a network with shortcuts, or of another family.
    """
    if not isinstance(model, ResNet) or model.config.shortcut_weight:
        raise NotAChainError(
            f"{model.arch or type(model).__name__} is no plain chain of layers; "
            "allowed: vanilla networks, such as vanilla_resnet50_tat_lrelu"
        )
    return list(_resnet(model))


def _resnet(model: ResNet) -> Iterator[Layer]:
    if model.config.input_norm == "per_location":
        yield Layer("per_location")
    yield _conv("stem", model.stem)
    if model.config.stem == "imagenet":
        yield Layer("max_pool", kernel_size=3, stride=2)
    for i, stage in enumerate(model.stages):
        digits = len(str(len(stage.blocks) - 1))
        for j, block in enumerate(stage.blocks):
            for name in ("conv1", "conv2", "conv3"):
                if hasattr(block, name):
                    yield Layer("activation")
                    prefix = f"stages.{i}.blocks.{j:0{digits}}.{name}"
                    yield _conv(prefix, getattr(block, name))
    yield Layer("activation")
    yield Layer("mean")
    yield Layer("flatten")
    inputs, outputs = model.head.kernel.shape
    yield Layer("dense", "head", inputs, outputs)


def _conv(params: str, conv: Conv) -> Layer:
    size, _, inputs, outputs = conv.kernel.shape
    return Layer("conv", params, inputs, outputs, size, conv.stride)
