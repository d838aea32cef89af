"""Sizes of networks against counts made by hand and against the literature."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from zoo.complexity import count_macs, count_params
from zoo.models import create_model


class _Counted(nnx.Module):
    """A dense layer inside a scan of three, then a strided grouped convolution."""

    def __init__(self):
        self.kernel = nnx.Param(jnp.ones((4, 4)))
        self.filter = nnx.Param(jnp.ones((3, 3, 2, 6)))

    def __call__(self, x):
        kernel = self.kernel[...]
        x = jax.lax.scan(lambda c, _: (jax.checkpoint(jnp.dot)(c, kernel), None), x, None, 3)[0]
        return jax.lax.conv_general_dilated(
            x, self.filter[...], (2, 2), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2,
        )  # fmt: skip


def test_multiply_accumulates_are_counted_through_scan_and_remat():
    dense = 3 * (8 * 8) * 4 * 4
    convolution = (4 * 4 * 6) * (3 * 3 * 2)
    assert count_macs(_Counted(), (8, 8, 4)) == dense + convolution
    assert count_params(_Counted()) == 16 + 108


def test_a_plain_resnet50_is_resnet50_without_its_projections():
    # torchvision states 4.09e9 for ResNet-50 with the stride on the 3x3 convolution, to two digits
    # after the point; its four projections are 1x1 convolutions at 56, 28, 14 and 7 pixels.
    sides = {56: (64, 256), 28: (256, 512), 14: (512, 1024), 7: (1024, 2048)}
    projections = sum(side**2 * inputs * outputs for side, (inputs, outputs) in sides.items())
    model = create_model("vanilla_resnet50_he_relu", abstract=True, input_norm="none")
    counted = count_macs(model, (224, 224, 3))
    assert counted + projections == pytest.approx(4.09e9, abs=0.005e9)
