"""The arrays of a network as its layers compute with them."""

import numpy as np

from zoo.classifier import Classifier
from zoo.models.layers import Conv, Dense
from zoo.models.parameters import layer_at


def plain_arrays(model: Classifier) -> dict[str, np.ndarray]:
    """All parameters by name, float32; kernels and biases are those that layers make of them.

    A kernel may be computed from several parameters, as that of a restricted update is.
    """
    params = model.split()[1]
    arrays = {name: np.asarray(value, np.float32) for name, value in params.items()}
    for name in params:
        owner, _, last = name.rpartition(".")
        layer = layer_at(model.network, owner)
        if last == "kernel" and isinstance(layer, Conv | Dense):
            kernel, bias = layer.plain_weights()
            arrays[name] = np.asarray(kernel, np.float32)
            if bias is not None:
                arrays[f"{owner}.bias"] = np.asarray(bias, np.float32)
    return arrays
