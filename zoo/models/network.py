"""What all families share: images -> feature maps -> features -> pooled -> logits."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from zoo.models.layers import Dense, per_location_normalization
from zoo.shaping import ShapedActivation


@dataclasses.dataclass(frozen=True)
class FeatureInfo:
    """One feature map of a network: its name, channels, and pixels of input per pixel of map."""

    name: str
    channels: int
    stride: int


class Network(nnx.Module):
    """An image classifier. A family provides `feature_maps`, `feature_info` and the layers.

    Attributes:
      config: frozen dataclass from which the structure is rebuilt.
      activation: the solved activation, used by every nonlinear layer.
      head: the last affine layer, pooled features -> logits.
      arch: the id under which the registry built it, or "".
      shaping: the method that solved the activation, or None.
      preprocess, classes, manifest: what belongs to pretrained weights; set when they are loaded.
      load_report: in what it differs from those weights, where it was adapted; or None.
    """

    config: Any
    activation: ShapedActivation
    head: Dense
    arch: str = ""
    shaping: Any = None
    preprocess: Any = None
    classes: tuple[str, ...] = ()
    manifest: Any = None
    load_report: Any = None

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
        """The activated last feature map, [batch, h, w, channel]."""
        return self.activation(self.feature_maps(images)[-1])

    def embed(self, images: jax.Array) -> jax.Array:
        """Features averaged over locations, [batch, channel], float32."""
        return jnp.mean(self.features(images).astype(jnp.float32), axis=(1, 2))

    def __call__(self, images: jax.Array, *, dropout_key: jax.Array | None = None) -> jax.Array:
        """Logits, [batch, num_classes], float32.

        Args:
          images: [batch, height, width, in_channels], normalised by mean and standard deviation.
          dropout_key: random key for dropout while training; None evaluates.
        """
        pooled = _dropout(self.embed(images), self.config.dropout_rate, dropout_key)
        return self.head(pooled).astype(jnp.float32)

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
        per_location = self.config.input_norm == "per_location"
        return per_location_normalization(images) if per_location else images


def _dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    if key is None or rate == 0.0:
        return x
    return x * jax.random.bernoulli(key, 1 - rate, x.shape) / (1 - rate)
