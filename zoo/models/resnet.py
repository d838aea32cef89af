"""Residual networks in V2 order on one trunk: vanilla (no shortcuts) and rescaled.

A block maps x to  sqrt(1 - w^2) branch(x) + w shortcut(x)  with shortcut weight w. At w = 0 nothing
of the shortcut is left: a plain chain of activation and convolution.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.layers import INITIALIZERS, Conv, Dense, max_pool
from zoo.models.network import FeatureInfo, Network
from zoo.shaping import ShapedActivation

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
BASIC_DEPTHS = (18, 34)
_BASE_CHANNELS = 64
_STEM_STRIDE = {"imagenet": 4, "cifar": 1}
_DTYPES = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Everything that decides a ResNet's structure and initial weights.

    Attributes:
      depth: 18, 34 (basic blocks), 50, 101, 152 or 200 (bottlenecks).
      shortcut_weight: w in [0, 1); 0 is a vanilla network.
      initializer: "suo_delta" (shaped networks) or "he_normal".
      num_classes: outputs of the head.
      in_channels: channels of the images.
      stem: "imagenet" (7x7 stride 2, max-pool) or "cifar" (3x3, for images of 8 to 64 pixels).
      width: multiplies every channel count.
      dtype: of the computation; logits are always float32.
      param_dtype: of the weights.
      dropout_rate: before the head, while training.
      remat: recompute each block in the backward pass instead of keeping its activations.
      scan: run equal blocks as one scanned block: compile time no longer grows with depth. None
        scans on TPU only, where unrolled layers compile for minutes; on two CPU cores a scanned
        gradient of vanilla_resnet50 ran 8.8 times slower than an unrolled one (median of 9, width
        0.25, 32 images of 32 x 32, jax 0.10.2; `python tools/benchmark_scan.py`).
      input_norm: "per_location" gives each pixel q value 1 (one more input channel); "none".
    """

    depth: int
    shortcut_weight: float = 0.0
    initializer: str = "suo_delta"
    num_classes: int = 1000
    in_channels: int = 3
    stem: Literal["imagenet", "cifar"] = "imagenet"
    width: float = 1.0
    dtype: str = "float32"
    param_dtype: str = "float32"
    dropout_rate: float = 0.0
    remat: bool = False
    scan: bool | None = None
    input_norm: Literal["per_location", "none"] = "per_location"

    def __post_init__(self) -> None:
        mistakes = [text for ok, text in self._checks() if not ok]
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def _checks(self) -> Iterable[tuple[bool, str]]:
        def one_of(name: str, allowed: Iterable[object]) -> tuple[bool, str]:
            value, allowed = getattr(self, name), tuple(allowed)
            return value in allowed, f"{name}={value!r}; allowed: {', '.join(map(str, allowed))}"

        yield one_of("depth", BLOCKS_PER_STAGE)
        yield one_of("initializer", INITIALIZERS)
        yield one_of("stem", _STEM_STRIDE)
        yield one_of("input_norm", ("per_location", "none"))
        yield one_of("dtype", _DTYPES)
        yield one_of("param_dtype", _DTYPES)
        for name in ("num_classes", "in_channels"):
            value = getattr(self, name)
            yield type(value) is int and value >= 1, f"{name}={value!r}; give a whole number >= 1"
        yield 0 <= self.shortcut_weight < 1, f"shortcut_weight={self.shortcut_weight}; give [0, 1)"
        yield 0 <= self.dropout_rate < 1, f"dropout_rate={self.dropout_rate}; give [0, 1)"
        yield self.width > 0, f"width={self.width}; give a positive factor"

    @property
    def bottleneck(self) -> bool:
        """Whether a block is 1x1, 3x3, 1x1 (inner width a quarter) rather than 3x3, 3x3."""
        return self.depth not in BASIC_DEPTHS

    @property
    def image_size(self) -> int:
        """Side of the images the stem is meant for, in pixels; any other size works too."""
        return 224 if self.stem == "imagenet" else 32

    @property
    def stem_channels(self) -> int:
        """Channels of the stem's output."""
        return self._scaled(_BASE_CHANNELS)

    @property
    def stage_channels(self) -> tuple[int, ...]:
        """Channels of the four stages' outputs."""
        expansion = 4 if self.bottleneck else 1
        return tuple(self._scaled(_BASE_CHANNELS * expansion * 2**i) for i in range(4))

    def _scaled(self, channels: int) -> int:
        return max(4, round(channels * self.width))


class Block(nnx.Module):
    """Activation then convolution, three times (bottleneck) or twice (basic); optional shortcut."""

    def __init__(
        self, config: ResNetConfig, activation: ShapedActivation, inputs: int, outputs: int,
        stride: int, projects: bool, *, rngs: nnx.Rngs,
    ):  # fmt: skip
        def conv(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> Conv:
            return _conv(config, inputs, outputs, kernel_size, stride, rngs)

        if config.bottleneck:
            inner = outputs // 4
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
        activated = self.activation(x)
        branch = self.conv2(self.activation(self.conv1(activated)))
        if hasattr(self, "conv3"):
            branch = self.conv3(self.activation(branch))
        weight = self.shortcut_weight
        if weight == 0:
            return branch
        shortcut = self.projection(activated) if hasattr(self, "projection") else x
        return (1 - weight**2) ** 0.5 * branch + weight * shortcut


class Stage(nnx.Module):
    """Blocks of one resolution; all but the first are equal and may be scanned."""

    def __init__(
        self, config: ResNetConfig, activation: ShapedActivation, stage: int, *, rngs: nnx.Rngs
    ):
        outputs = config.stage_channels[stage]
        inputs = config.stage_channels[stage - 1] if stage else config.stem_channels
        projects = config.shortcut_weight > 0 and (stage > 0 or config.bottleneck)
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
        x = self._run(*nnx.split(first))(x)
        if not scan:
            for block in others:
                x = self._run(*nnx.split(block))(x)
            return x
        graphdefs, states = zip(*(nnx.split(block) for block in others), strict=True)
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        return jax.lax.scan(
            lambda carry, state: (self._run(graphdefs[0], state)(carry), None), x, stacked
        )[0]

    def _run(self, graphdef: nnx.GraphDef, state: nnx.State) -> Callable[[jax.Array], jax.Array]:
        def run(state: nnx.State, x: jax.Array) -> jax.Array:
            return nnx.merge(graphdef, state)(x)

        run = jax.checkpoint(run) if self.remat else run
        return lambda x: run(state, x)


class ResNet(Network):
    """Stem, four stages, activation, mean over locations, head."""

    def __init__(self, config: ResNetConfig, activation: ShapedActivation, *, rngs: nnx.Rngs):
        channels = config.in_channels + (config.input_norm == "per_location")
        large = config.stem == "imagenet"
        self.config = config
        self.activation = activation
        self.stem = _conv(
            config, channels, config.stem_channels, 7 if large else 3, 2 if large else 1, rngs
        )
        self.stages = nnx.List([Stage(config, activation, i, rngs=rngs) for i in range(4)])
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
        stride = _STEM_STRIDE[self.config.stem]
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
        initializer=INITIALIZERS[config.initializer],
        dtype=config.dtype,
        param_dtype=config.param_dtype,
        rngs=rngs,
    )
