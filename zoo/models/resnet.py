"""Residual networks in V2 order on one trunk: vanilla (no shortcuts), rescaled, and BatchNorm.

A block maps x to  sqrt(1 - w^2) branch(x) + w shortcut(x)  with shortcut weight w. At w = 0 nothing
of the shortcut is left: a plain chain of activation and convolution. Without a weight it is
branch(x) + shortcut(x), the ordinary ResNet-V2 (arXiv 1603.05027) when batches are normalised too.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Primitive

from zoo.models.layers import INITIALIZERS, BatchNorm, Conv, Dense, max_pool
from zoo.models.network import FeatureInfo, Network
from zoo.models.parameters import in_training
from zoo.models.resnet_config import BLOCKS_PER_STAGE, STEM_STRIDE, ResNetConfig
from zoo.shaping import ShapedActivation


class Block(nnx.Module):
    """Normalisation (if any), activation, convolution: three times (bottleneck) or twice (basic).

    The shortcut is optional; a projected one starts from the block's first activation.
    """

    def __init__(
        self, config: ResNetConfig, activation: ShapedActivation, inputs: int, outputs: int,
        stride: int, projects: bool, *, rngs: nnx.Rngs,
    ):  # fmt: skip
        def conv(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> Conv:
            return _conv(config, inputs, outputs, kernel_size, stride, rngs)

        inner = outputs // 4 if config.bottleneck else outputs
        self.norm1, self.norm2 = _norm(config, inputs, rngs), _norm(config, inner, rngs)
        if config.bottleneck:
            self.norm3 = _norm(config, inner, rngs)
            self.conv1 = conv(inputs, inner, 1)
            self.conv2 = conv(inner, inner, 3, stride)
            self.conv3 = conv(inner, outputs, 1)
        else:
            self.conv1 = conv(inputs, outputs, 3, stride)
            self.conv2 = conv(outputs, outputs, 3)
        if projects:
            self.projection = conv(inputs, outputs, 1, stride)
        self.activation = activation
        self.shortcut_weight = config.shortcut_weight

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        activated = self.activation(self.norm1(x))
        branch = self.conv2(self.activation(self.norm2(self.conv1(activated))))
        if hasattr(self, "conv3"):
            branch = self.conv3(self.activation(self.norm3(branch)))
        weight = self.shortcut_weight
        if weight == 0:
            return branch
        shortcut = self.projection(activated) if hasattr(self, "projection") else x
        if weight is None:
            return branch + shortcut
        return (1 - weight**2) ** 0.5 * branch + weight * shortcut


class Stage(nnx.Module):
    """Blocks of one resolution; all but the first are equal and may be scanned."""

    def __init__(
        self, config: ResNetConfig, activation: ShapedActivation, stage: int, *, rngs: nnx.Rngs
    ):
        outputs = config.stage_channels[stage]
        inputs = config.stage_channels[stage - 1] if stage else config.stem_channels
        projects = config.shortcut_weight != 0 and (stage > 0 or config.bottleneck)
        stride = 2 if stage else 1
        first = Block(config, activation, inputs, outputs, stride, projects, rngs=rngs)
        others = [
            Block(config, activation, outputs, outputs, 1, False, rngs=rngs)
            for _ in range(BLOCKS_PER_STAGE[config.depth][stage] - 1)
        ]
        self.blocks = nnx.List([first, *others])
        self.remat = config.remat
        self.scan = config.scan

    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, h, w, inputs] -> [batch, h / stride, w / stride, outputs]."""
        scan = jax.default_backend() == "tpu" if self.scan is None else self.scan
        first, *others = self.blocks
        x = self._apply(first, x)
        graphdefs, states = zip(*(nnx.split(block) for block in others), strict=True)
        if not scan or len(set(graphdefs)) > 1:  # in training mode only some may measure batches
            for block in others:
                x = self._apply(block, x)
            return x
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        x, measured = jax.lax.scan(self._pure(graphdefs[0]), x, stacked)
        for i, block in enumerate(others):
            nnx.update(block, jax.tree.map(lambda leaf, i=i: leaf[i], measured))
        return x

    def _apply(self, block: Block, x: jax.Array) -> jax.Array:
        graphdef, state = nnx.split(block)
        x, measured = self._pure(graphdef)(x, state)
        nnx.update(block, measured)
        return x

    def _pure(
        self, graphdef: nnx.GraphDef
    ) -> Callable[[jax.Array, nnx.State], tuple[jax.Array, nnx.State]]:
        """A block as a function of its state: the output, and the statistics it measured."""

        def run(x: jax.Array, state: nnx.State) -> tuple[jax.Array, nnx.State]:
            block = nnx.merge(graphdef, state)
            x = block(x)
            return x, nnx.state(block, nnx.BatchStat if in_training(block) else nnx.Nothing())

        return _REMAT[self.remat](run)


class ResNet(Network):
    """Stem, four stages, normalisation (if any), activation, mean over locations, head."""

    def __init__(self, config: ResNetConfig, activation: ShapedActivation, *, rngs: nnx.Rngs):
        channels = config.in_channels + (config.input_norm == "per_location")
        large = config.stem == "imagenet"
        self.config = config
        self.activation = activation
        self.stem = _conv(
            config, channels, config.stem_channels, 7 if large else 3, 2 if large else 1, rngs
        )
        self.stages = nnx.List([Stage(config, activation, i, rngs=rngs) for i in range(4)])
        self.norm = _norm(config, config.stage_channels[-1], rngs)
        self.head = Dense(
            config.stage_channels[-1],
            config.num_classes,
            initializer=INITIALIZERS[config.initializer],
            dtype=config.dtype,
            param_dtype=config.param_dtype,
            rngs=rngs,
        )

    def feature_maps(self, images: jax.Array) -> list[jax.Array]:
        """Outputs of the four stages, finest first, before the last activation."""
        x = self._stem_output(images)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def features(self, images: jax.Array) -> jax.Array:
        """The normalised (if at all) and activated last feature map, [batch, h, w, channel]."""
        return self.activation(self.norm(self.feature_maps(images)[-1]))

    def block_outputs(self, images: jax.Array) -> dict[str, jax.Array]:
        """Outputs of the stem and of every block in order, before the next activation."""
        x = self._stem_output(images)
        outputs = {"stem": x}
        for i, stage in enumerate(self.stages):
            digits = len(str(len(stage.blocks) - 1))
            for j, block in enumerate(stage.blocks):
                x = block(x)
                outputs[f"stages.{i}.blocks.{j:0{digits}}"] = x
        return outputs

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, channels and stride of each stage."""
        stride = STEM_STRIDE[self.config.stem]
        return tuple(
            FeatureInfo(f"stages.{i}", channels, stride * 2**i)
            for i, channels in enumerate(self.config.stage_channels)
        )

    def _stem_output(self, images: jax.Array) -> jax.Array:
        x = self.stem(self.normalize_input(images))
        return max_pool(x) if self.config.stem == "imagenet" else x


def _conv(
    config: ResNetConfig, inputs: int, outputs: int, kernel_size: int, stride: int, rngs: nnx.Rngs
) -> Conv:
    return Conv(
        inputs,
        outputs,
        kernel_size,
        stride=stride,
        use_bias=config.norm == "none",
        initializer=INITIALIZERS[config.initializer],
        dtype=config.dtype,
        param_dtype=config.param_dtype,
        rngs=rngs,
    )


def _norm(config: ResNetConfig, channels: int, rngs: nnx.Rngs) -> Callable[[jax.Array], jax.Array]:
    if config.norm == "none":
        return _identity
    return BatchNorm(channels, dtype=config.dtype, param_dtype=config.param_dtype, rngs=rngs)


def _identity(x: jax.Array) -> jax.Array:
    return x


def _is_product(primitive: Primitive, *_: Any, **__: Any) -> bool:
    return primitive.name in ("conv_general_dilated", "dot_general")


# By name: how a block is wrapped so that its backward pass computes some values again.
_REMAT: dict[str, Callable[[Any], Any]] = {
    "none": lambda run: run,
    "activations": functools.partial(jax.checkpoint, policy=_is_product),
    "blocks": jax.checkpoint,
}
