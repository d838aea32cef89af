"""What decides a residual network: depth, shortcuts, normalisation, stem, width, precision."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

from zoo.models.layers import INITIALIZERS

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
STEM_STRIDE = {"imagenet": 4, "cifar": 1}
_DTYPES = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Everything that decides a ResNet's structure and initial weights.

    Attributes:
      depth: 18, 34 (basic blocks), 50, 101, 152 or 200 (bottlenecks).
      shortcut_weight: w in [0, 1); 0 is a vanilla network, None an ordinary sum.
      norm: "batch" normalises before every activation, and convolutions have no bias; or "none".
      initializer: "suo_delta" (shaped networks) or "he_normal".
      num_classes: outputs of the head.
      in_channels: channels of the images.
      stem: "imagenet" (7x7 stride 2, max-pool) or "cifar" (3x3, for images of 8 to 64 pixels).
      width: multiplies every channel count.
      dtype: of the computation; logits are always float32.
      param_dtype: of the weights.
      dropout_rate: before the head, while training.
      remat: what the backward pass computes again instead of keeping it: "none", the
        "activations" (products are kept, the functions between them are cheap), or whole "blocks".
      scan: run equal blocks as one scanned block: compile time no longer grows with depth. None
        scans on TPU only, where unrolled layers compile for minutes; on two CPU cores a scanned
        gradient of vanilla_resnet50 ran 9.9 times slower than an unrolled one (median of 9, width
        0.25, 32 images of 32 x 32, jax 0.10.2; `python tools/benchmark_scan.py`).
      input_norm: "per_location" gives each pixel q value 1 (one more input channel); "none".
    """

    depth: int
    shortcut_weight: float | None = 0.0
    norm: Literal["none", "batch"] = "none"
    initializer: str = "suo_delta"
    num_classes: int = 1000
    in_channels: int = 3
    stem: Literal["imagenet", "cifar"] = "imagenet"
    width: float = 1.0
    dtype: str = "float32"
    param_dtype: str = "float32"
    dropout_rate: float = 0.0
    remat: Literal["none", "activations", "blocks"] = "none"
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
        yield one_of("stem", STEM_STRIDE)
        yield one_of("input_norm", ("per_location", "none"))
        yield one_of("norm", ("none", "batch"))
        yield one_of("remat", ("none", "activations", "blocks"))
        yield one_of("dtype", _DTYPES)
        yield one_of("param_dtype", _DTYPES)
        for name in ("num_classes", "in_channels"):
            value = getattr(self, name)
            yield type(value) is int and value >= 1, f"{name}={value!r}; give a whole number >= 1"
        weight = self.shortcut_weight
        yield weight is None or 0 <= weight < 1, f"shortcut_weight={weight}; give [0, 1) or None"
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
