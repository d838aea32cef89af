"""A weight as one ONNX file, written layer by layer from the network's layout.

The graph takes uint8 images of the network's size and gives logits: normalising is part of it, the
number of images is free, and the manifest is in its metadata under "weight". Needs the optional
library onnx to write, and nothing of the zoo to run.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.classifier import Classifier
from zoo.export.arrays import plain_arrays
from zoo.export.errors import ExportError
from zoo.models import Layer, Sum
from zoo.pretrained.writing import record_of
from zoo.shaping import ShapedActivation

OPSET = 20
"""Of the operators used, Gelu is the newest."""
_IR_VERSION = 9  # what runtimes of the time of that opset read
_EPSILON = 1e-5  # of BatchNorm


def write_onnx(model: Classifier, path: Path) -> None:
    """Writes `path`.

      session = onnxruntime.InferenceSession("digits.onnx")
      session.run(["logits"], {"images": images})  # uint8 [batch, height, width, channel]

    Images are resized before, as "preprocess" of the metadata says. Everything is computed in
    float32.

    Raises:
      ExportError: onnx is not installed, or the network has layers that are not written here.
    """
    try:
        # pyrefly: ignore[missing-import] an extra, so it may be absent
        import onnx
    except ImportError:
        raise ExportError(
            "this form needs onnx; install it: pip install 'flax-vanilla-zoo[onnx]'"
        ) from None
    graph = _Graph(onnx, model.provenance.name, model.network.activations)
    made = graph.logits(model)
    record = record_of(model)
    height, width = model.preprocess.image_size
    image = ["batch", height, width, model.preprocess.channels]
    types, value = onnx.TensorProto, onnx.helper.make_tensor_value_info
    whole = onnx.helper.make_graph(
        graph.nodes,
        "network",
        [value("images", types.UINT8, image)],
        [value(made, types.FLOAT, ["batch", model.num_classes])],
        graph.constants,
    )
    opset = onnx.helper.make_opsetid("", OPSET)
    proto = onnx.helper.make_model(
        whole, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="flax-vanilla-zoo"
    )
    onnx.helper.set_model_props(proto, {"weight": json.dumps(record, sort_keys=True)})
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString())


class _Graph:
    """Nodes and constants, as they are added; values are called by their place."""

    def __init__(self, onnx: Any, name: str, activations: Sequence[ShapedActivation]):
        self.onnx, self.name, self.activations = onnx, name, activations
        self.params: dict[str, np.ndarray] = {}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def logits(self, model: Classifier) -> str:
        """The whole network; the name of its output."""
        self.params = plain_arrays(model)
        preprocess = model.preprocess
        to_float = {"to": self.onnx.TensorProto.FLOAT}
        x = self.add("Cast", "images", **to_float)
        x = self.add("Div", x, self.constant(np.float32(255)))
        x = self.add("Sub", x, self.constant(np.asarray(preprocess.mean, np.float32)))
        x = self.add("Div", x, self.constant(np.asarray(preprocess.std, np.float32)))
        x = self.add("Transpose", x, perm=[0, 3, 1, 2])
        layers = [layer for part in model.network.layout for layer in part.layers]
        return self.add("Identity", self.chain(layers, x), output="logits")

    def chain(self, layers: Sequence[Layer | Sum], x: str) -> str:
        """Layers one after the other."""
        for layer in layers:
            x = self.sum(layer, x) if isinstance(layer, Sum) else self.layer(layer, x)
        return x

    def sum(self, layer: Sum, x: str) -> str:
        """Weighted signal paths, added."""
        paths = [
            self.add("Mul", self.chain(branch, x), self.constant(np.float32(weight)))
            for branch, weight in zip(layer.branches, layer.weights, strict=True)
        ]
        return self.add("Sum", *paths)

    def layer(self, layer: Layer, x: str) -> str:
        """One layer."""
        if layer.kind not in _LAYERS:
            raise ExportError(
                f"{self.name} has layers of kind {layer.kind}, which onnx is not "
                f"written with; allowed: {', '.join(_LAYERS)}; use stablehlo"
            )
        prefix = f"{layer.name}."
        own = {name.removeprefix(prefix) for name in self.params if name.startswith(prefix)}
        if layer.name and (more := own - _PARAMETERS[layer.kind]):
            raise ExportError(
                f"{self.name}: the weights of {layer.name} are made from {', '.join(sorted(more))} "
                "too, which onnx is not written with; use stablehlo"
            )
        return _LAYERS[layer.kind](self, layer, x)

    def parameter(self, layer: Layer, name: str, axes: tuple[int, ...] | None = None) -> str:
        """A parameter of a layer; "" where the layer has none of this name."""
        found = self.params.get(f"{layer.name}.{name}")
        if found is None:
            return ""
        return self.constant(found if axes is None else found.transpose(axes))

    def constant(self, array: np.ndarray | np.generic) -> str:
        """An array stored in the file."""
        name = f"c{len(self.constants)}"
        stored = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        # ascontiguousarray makes a vector of a number, which broadcasts alike.
        self.constants.append(stored)
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """A node; the name of its output."""
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output


def _conv(graph: _Graph, layer: Layer, x: str) -> str:
    side = graph.params[f"{layer.name}.kernel"].shape[0]
    inputs = [graph.parameter(layer, "kernel", (3, 2, 0, 1)), graph.parameter(layer, "bias")]
    return graph.add(
        "Conv", x, *filter(None, inputs), strides=[layer.stride] * 2,
        pads=[(side - 1) // 2] * 4, group=layer.groups,
    )  # fmt: skip


def _max_pool(graph: _Graph, layer: Layer, x: str) -> str:
    side, margin = layer.kernel_size, (layer.kernel_size - 1) // 2
    return graph.add(
        "MaxPool", x, kernel_shape=[side] * 2, strides=[layer.stride] * 2, pads=[margin] * 4
    )


def _norm(graph: _Graph, layer: Layer, x: str) -> str:
    inputs = (graph.parameter(layer, name) for name in ("scale", "bias", "mean", "var"))
    return graph.add("BatchNormalization", x, *inputs, epsilon=_EPSILON)


def _per_location(graph: _Graph, layer: Layer, x: str) -> str:
    """A channel of ones is appended, and each location divided by its root mean square."""
    axis, one = graph.constant(np.asarray([1])), graph.constant(np.float32(1))
    first = graph.add("Slice", x, graph.constant(np.asarray([0])), axis, axis)
    ones = graph.add("Add", graph.add("Sub", first, first), one)
    x = graph.add("Concat", x, ones, axis=1)
    square = graph.add("ReduceMean", graph.add("Mul", x, x), axis, keepdims=1)
    return graph.add("Div", x, graph.add("Sqrt", square))


def _mean(graph: _Graph, layer: Layer, x: str) -> str:
    return graph.add("ReduceMean", x, graph.constant(np.asarray([2, 3])), keepdims=0)


def _dense(graph: _Graph, layer: Layer, x: str) -> str:
    return graph.add("Gemm", x, graph.parameter(layer, "kernel"), graph.parameter(layer, "bias"))


def _activation(graph: _Graph, layer: Layer, x: str) -> str:
    """output_scale (phi(input_scale x + input_shift) + output_shift)."""
    shaped = graph.activations[layer.index]
    if shaped.linear_share:
        raise ExportError(
            f"{graph.name} keeps a share of its channels linear, which onnx is not written with; "
            "use stablehlo"
        )
    x = _scaled(graph, "Mul", x, shaped.input_scale)
    x = _scaled(graph, "Add", x, shaped.input_shift)
    x = _PHI[shaped.phi](graph, x, shaped)
    x = _scaled(graph, "Add", x, shaped.output_shift)
    return _scaled(graph, "Mul", x, shaped.output_scale)


def _scaled(graph: _Graph, kind: str, x: str, number: float) -> str:
    nothing = {"Mul": 1.0, "Add": 0.0}[kind]
    return x if number == nothing else graph.add(kind, x, graph.constant(np.float32(number)))


def _node(kind: str, **attributes: Any) -> Callable[..., str]:
    return lambda graph, x, shaped: graph.add(kind, x, **attributes)


def _swish(graph: _Graph, x: str, shaped: ShapedActivation) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _bent_identity(graph: _Graph, x: str, shaped: ShapedActivation) -> str:
    """(sqrt(x^2 + 1) - 1) / 2 + x."""
    one, two = graph.constant(np.float32(1)), graph.constant(np.float32(2))
    root = graph.add("Sqrt", graph.add("Add", graph.add("Mul", x, x), one))
    return graph.add("Add", graph.add("Div", graph.add("Sub", root, one), two), x)


def _leaky_relu(graph: _Graph, x: str, shaped: ShapedActivation) -> str:
    return graph.add("LeakyRelu", x, alpha=float(shaped.negative_slope or 0.0))


_LAYERS: Mapping[str, Callable[[_Graph, Layer, str], str]] = {
    "per_location": _per_location,
    "conv": _conv,
    "norm": _norm,
    "activation": _activation,
    "max_pool": _max_pool,
    "mean": _mean,
    "dense": _dense,
}
_PARAMETERS = {
    "conv": {"kernel", "bias"},
    "dense": {"kernel", "bias"},
    "norm": {"scale", "bias", "mean", "var"},
}
_PHI: Mapping[str, Callable[[_Graph, str, ShapedActivation], str]] = {
    **{name: _node(name.capitalize()) for name in ("tanh", "atan", "asinh", "sin", "cos")},
    **{name: _node(name.capitalize()) for name in ("sigmoid", "erf", "softplus", "softsign")},
    **{name: _node(name.capitalize()) for name in ("elu", "selu", "relu", "identity")},
    "gelu": _node("Gelu", approximate="tanh"),
    "gelu_exact": _node("Gelu"),
    "swish": _swish,
    "silu": _swish,
    "square": lambda graph, x, shaped: graph.add("Mul", x, x),
    "bentid": _bent_identity,
    "leaky_relu": _leaky_relu,
}
