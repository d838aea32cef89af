"""What a family of networks is: the one contract that an extender reads.

A family is a subclass of `Network` in a file of its own. It has

  Config      a frozen dataclass that checks itself; its fields are the options of `create_model`
              and of `--model.*`;
  variants()  its ids, each with a config and the methods that solve its activations;
  layout      its parts in forward order, which everything else reads in place of its names;
  an ordinary forward pass, from which its kernel graph is traced.

`register_family` makes it known. Training, fine-tuning, planning, K-FAC, adapting, evaluation,
storage and export then work on it; none of them knows a family.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.layers import Dense, Initializer, at_least_float32, per_location_normalization
from zoo.models.layout import Layer, Layout, Part
from zoo.models.parameters import Params
from zoo.shaping import DKS, EOC, TAT, ShapedActivation

Shaping = DKS | TAT | EOC
Activations = tuple[ShapedActivation, ...]
"""The solved activations of a network, one for each method of its variant."""

_DTYPES = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The options that all families share; a family's own come on top.

    Attributes:
      num_classes: outputs of the head; 0 leaves it out, and the network gives pooled features.
      in_channels: channels of the images.
      input_norm: "per_location" gives each pixel q value 1 (one more input channel); "none".
      dtype: of the computation; logits are float32 at least. float64 needs jax_enable_x64.
      param_dtype: of the weights.
      update_scale: beta of kernels W_0 + beta dW, W_0 never trained and dW from zero, of order
        1 / sqrt(depth) (`restrict_updates`). None trains kernels as they are.
      dropout_rate: before the head, while training.
      remat: what the backward pass computes again instead of keeping it: "none", the
        "activations" (products are kept, the functions between them are cheap), or whole "blocks".
      scan: run equal blocks as one scanned block: compile time no longer grows with depth. None
        scans on TPU only, where unrolled layers compile for minutes; on two CPU cores a scanned
        gradient of vanilla_resnet50 ran 9.9 times slower than an unrolled one (median of 9, width
        0.25, 32 images of 32 x 32, jax 0.10.2).

    Raises:
      ValueError: with every option that is out of range.
    """

    num_classes: int = 1000
    in_channels: int = 3
    input_norm: Literal["per_location", "none"] = "per_location"
    dtype: str = "float32"
    param_dtype: str = "float32"
    update_scale: float | None = None
    dropout_rate: float = 0.0
    remat: Literal["none", "activations", "blocks"] = "none"
    scan: bool | None = None

    def __post_init__(self) -> None:
        mistakes = [text for ok, text in self.checks() if not ok]
        if mistakes:
            raise ValueError("; ".join(mistakes))

    def checks(self) -> Iterator[tuple[bool, str]]:
        """Whether each option is right, with what is wrong otherwise; a family adds its own."""
        yield self.one_of("input_norm", ("per_location", "none"))
        yield self.one_of("remat", ("none", "activations", "blocks"))
        dtypes = (*_DTYPES, "float64") if jax.config.read("jax_enable_x64") else _DTYPES
        yield self.one_of("dtype", dtypes)
        yield self.one_of("param_dtype", dtypes)
        for name, least in (("num_classes", 0), ("in_channels", 1)):
            value = getattr(self, name)
            fits = type(value) is int and value >= least
            yield fits, f"{name}={value!r}; give a whole number >= {least}"
        scale = self.update_scale
        yield scale is None or scale > 0, f"update_scale={scale}; give a positive number or None"
        yield 0 <= self.dropout_rate < 1, f"dropout_rate={self.dropout_rate}; give [0, 1)"

    def one_of(self, name: str, allowed: Iterable[object]) -> tuple[bool, str]:
        """The check that the option `name` has one of the `allowed` values."""
        value, allowed = getattr(self, name), tuple(allowed)
        return value in allowed, f"{name}={value!r}; allowed: {', '.join(map(str, allowed))}"

    @property
    def dtypes(self) -> dict[str, Any]:
        """Precision of computation and of weights, as layers take them."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    @property
    def begins_as_delta(self) -> bool:
        """Whether convolutions begin by their centre tap alone, so that locations do not mix."""
        return True

    @property
    def normalizes_batches(self) -> bool:
        """Whether layers normalise by their batch: recipes then decay weights and do not clip."""
        return False

    @property
    def image_size(self) -> int:
        """Side of the images that the network is meant for, in pixels; other sizes work too."""
        return 224

    @property
    def smallest_image_size(self) -> int:
        """Smallest side of images that the forward pass takes, in pixels."""
        return 1


@dataclasses.dataclass(frozen=True)
class Variant:
    """What an id stands for: a config, and where its activations come from.

    Attributes:
      config: of the family's `Config`.
      shaping: methods that solve one activation each, for the network's own kernel graph.
      activations: used as they are where nothing is shaped.
    """

    config: Any
    shaping: tuple[Shaping, ...] = ()
    activations: Activations = ()


@dataclasses.dataclass(frozen=True)
class FeatureInfo:
    """One feature map of a network: its name, channels, and pixels of input per pixel of map."""

    name: str
    channels: int
    stride: int


class Network(nnx.Module):
    """An image classifier, images -> feature maps -> features -> pooled -> logits.

    A family defines `Config`, `variants`, `__init__(config, activations, *, rngs)`, `layout`,
    `feature_maps`, `feature_info` and `block_outputs`.

    Attributes:
      config: frozen dataclass from which the structure is rebuilt.
      activations: the solved activations.
      head: the last affine layer, pooled features -> logits; None without classes.
    """

    Config: ClassVar[type[NetworkConfig]]

    config: Any
    activations: Activations
    head: Dense | None

    def __init__(self, config: Any, activations: Activations, *, rngs: nnx.Rngs):
        raise NotImplementedError

    @classmethod
    def variants(cls) -> Mapping[str, Variant]:
        """The family's ids and what each stands for."""
        raise NotImplementedError

    @property
    def layout(self) -> Layout:
        """The parts of the network in forward order; every parameter belongs to one of them."""
        raise NotImplementedError

    @property
    def plain_layout(self) -> Layout:
        """What `to_plain` reads: `layout`, or less where weights have switched a path off."""
        return self.layout

    def feature_maps(self, images: jax.Array) -> list[jax.Array]:
        """Outputs of the stages, finest first, before the last activation.

        Args:
          images: [batch, height, width, in_channels], normalised by mean and standard deviation.
        """
        raise NotImplementedError

    def block_outputs(self, images: jax.Array) -> dict[str, jax.Array]:
        """Outputs of the stem and of every block by name, in order, to look into a network."""
        raise NotImplementedError

    @property
    def feature_info(self) -> tuple[FeatureInfo, ...]:
        """Name, channels and stride of each of `feature_maps`."""
        raise NotImplementedError

    def features(self, images: jax.Array) -> jax.Array:
        """The last feature map as the head's pooling takes it, [batch, ..., channel]."""
        raise NotImplementedError

    def embed(self, images: jax.Array) -> jax.Array:
        """Features averaged over locations, [batch, channel], float32."""
        features = self.features(images)
        features = features.astype(at_least_float32(features.dtype))
        return jnp.mean(features, axis=tuple(range(1, features.ndim - 1)))

    def __call__(self, images: jax.Array, *, dropout_key: jax.Array | None = None) -> jax.Array:
        """Logits, [batch, num_classes], float32; pooled features if there are no classes.

        Args:
          images: [batch, height, width, in_channels], normalised by mean and standard deviation.
          dropout_key: random key for dropout while training; None evaluates.
        """
        pooled = _dropout(self.embed(images), self.config.dropout_rate, dropout_key)
        if self.head is None:
            return pooled
        logits = self.head(pooled)
        return logits.astype(at_least_float32(logits.dtype))

    def penalty(self) -> jax.Array | float:
        """What is added to the loss while training: of the weights alone, float32; by default 0."""
        return 0.0

    def after_step(
        self, step: jax.Array, before: Params, after: Params, gradients: Params
    ) -> Params:
        """Parameters that the family sets itself after an update; by default none.

        They may be trained ones, and `Fixed` ones, which no optimiser changes.

        Args:
          step: number of updates made before this one.
          before: all parameters before it, by name.
          after: all parameters as the optimiser left them.
          gradients: of the trained parameters, before clipping.

        Returns:
          Those that are others than in `after`, by name.
        """
        del step, before, after, gradients
        return {}

    def normalize_input(self, images: jax.Array) -> jax.Array:
        """Checks the channels and applies per-location normalisation where the config says so.

        Raises:
          ValueError: if `images` has another number of axes or channels than the network, or holds
            whole numbers, which nobody has normalised.
        """
        channels = self.config.in_channels
        if images.ndim != 4 or images.shape[-1] != channels:
            raise ValueError(
                f"images of shape {images.shape} given, [batch, height, width, {channels}] expected"
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"images are {images.dtype}; normalise them: model.preprocess(images)")
        return per_location_normalization(images) if self._normalizes_locations else images

    def new_head(self, channels: int, initializer: Initializer, *, rngs: nnx.Rngs) -> Dense | None:
        """A head on so many pooled features, or None where the config has no classes."""
        classes = self.config.num_classes
        if not classes:
            return None
        return Dense(channels, classes, initializer=initializer, **self.config.dtypes, rngs=rngs)

    @property
    def input_channels(self) -> int:
        """Channels of what `normalize_input` gives: one more than the image's, or as many."""
        return self.config.in_channels + self._normalizes_locations

    @property
    def input_part(self) -> Part:
        """The part of the layout that `normalize_input` is."""
        layers = (Layer("per_location"),) if self._normalizes_locations else ()
        return Part("input", "", layers)

    @property
    def head_part(self) -> Part:
        """The part of the layout that the head is."""
        return Part("head", "head", (Layer("dense", "head"),) if self.head is not None else ())

    @property
    def _normalizes_locations(self) -> bool:
        return self.config.input_norm == "per_location"


def _dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    if key is None or rate == 0.0:
        return x
    return x * jax.random.bernoulli(key, 1 - rate, x.shape) / (1 - rate)
