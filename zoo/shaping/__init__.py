"""Mathematics of kernels: which constants make a deep network trainable.

Knows nothing of images, data or training.
"""

from zoo.shaping.activation import ACTIVATIONS, ShapedActivation, shaped_activation_p
from zoo.shaping.assumptions import Assumption, AssumptionWarning
from zoo.shaping.builder import GraphBuilder
from zoo.shaping.graph import KernelGraph
from zoo.shaping.kernel_maps import (
    c_curvature,
    c_map,
    c_slope,
    leaky_relu_c_map,
    q_map,
    q_slope,
)
from zoo.shaping.methods import DKS, EOC, TAT, method_from_json, method_to_json
from zoo.shaping.pointwise import UnknownActivationError
from zoo.shaping.propagation import Kernels, propagate
from zoo.shaping.refusals import NotShapableError
from zoo.shaping.targets import UnreachableTargetError
from zoo.shaping.trace import kernel_graph

__all__ = [
    "ACTIVATIONS",
    "DKS",
    "EOC",
    "TAT",
    "Assumption",
    "AssumptionWarning",
    "GraphBuilder",
    "KernelGraph",
    "Kernels",
    "NotShapableError",
    "ShapedActivation",
    "UnknownActivationError",
    "UnreachableTargetError",
    "c_curvature",
    "c_map",
    "c_slope",
    "kernel_graph",
    "leaky_relu_c_map",
    "method_from_json",
    "method_to_json",
    "propagate",
    "q_map",
    "q_slope",
    "shaped_activation_p",
]
