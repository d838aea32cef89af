"""What the kernel maps predict at each tap of a network: q, cosine, and slope of the C map.

The maps are those of the limit of infinite width. Only shapes are needed, no weights.
"""

import dataclasses

import numpy as np

from zoo.inspection.taps import Network, Tap, Tapped, weight_names, weights_of
from zoo.shaping import (
    KernelGraph,
    Kernels,
    NotShapableError,
    ShapedActivation,
    c_slope,
    kernel_graph,
    propagate,
)

_Q_TOLERANCE = 1e-3  # how far q may be from 1 where C'(1) is the mean square of a Jacobian


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The kernel maps of a network down to each of its taps.

    Attributes:
      taps: in the order they are computed; last the output.
      graph: of the whole network; `Tap.node` numbers its nodes.
      activation: of the marked nonlinear layers; None if there are none.
    """

    taps: list[Tap]
    graph: KernelGraph
    activation: ShapedActivation | None

    def kernels(self, c: np.ndarray | float, q: float = 1.0) -> list[Kernels]:
        """q value and cosines at every tap for inputs of cosines `c` and q value `q`."""
        values = propagate(self.graph, c, q=q, activation=self.activation)
        here = [(values[tap.node], tap.scale) for tap in self.taps]
        return [dataclasses.replace(one, q=one.q * scale) for one, scale in here]

    def slope(self, tap: Tap) -> float | None:
        """C'(1) down to `tap`: mean square of the Jacobian, times inputs / outputs.

        None where no single number tells: for q values other than 1, products, and networks of
        several activations.
        """
        marked = [self.activation] if self.activation else []
        functions = [*marked, *tap.graph.unmarked]
        if len(functions) > 1 or tap.graph.has_products:
            return None
        values = propagate(tap.graph, 1.0, activation=self.activation)
        if any(abs(one.q - 1) > _Q_TOLERANCE for one in values):
            return None
        local = float(c_slope(functions[0])) if functions else 1.0
        return tap.graph.evaluate(1.0, lambda slope: slope * local)


def predict(network: Network, shape: tuple[int, ...], *, delta: bool = False) -> Prediction:
    """The kernel maps of a network of one input, concrete or abstract (`nnx.eval_shape`).

    Args:
      network: an NNX module or a function.
      shape: of its input, batch axis first.
      delta: whether kernels of convolutions are zero but for their centre tap.

    Raises:
      NotShapableError: in one sentence, for a network without kernel maps.

    Example:
      >>> network = nnx.eval_shape(lambda: zoo.create_model("vanilla_resnet50_tat_lrelu"))
      >>> round(float(predict(network, (1, 1, 1, 3)).kernels(0.0)[-1].c), 6)
      0.9
    """
    kernel_graph(network, shape, delta=delta)  # the refusal of the network itself
    tapped = Tapped(network, shape)
    activations = tapped.activations()
    if len(activations) > 1:
        raise NotShapableError("the network applies several different shaped activations")
    taps, graph = tapped.places(weights_of(network), len(weight_names(network)), delta)
    return Prediction(taps, graph, activations[0] if activations else None)
