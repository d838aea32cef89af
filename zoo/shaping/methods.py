"""Shaping methods: targets + kernel graph -> `ShapedActivation`.

A method is a frozen record of an activation and a target for the whole network. `solve` turns the
target into a condition on one layer (`targets`) and that into constants (`solve`).
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from zoo.shaping.activation import ShapedActivation
from zoo.shaping.graph import KernelGraph, Subnetworks
from zoo.shaping.pointwise import pointwise
from zoo.shaping.solve import solve_dks, solve_dks_leaky_relu, solve_dks_relu, solve_tat
from zoo.shaping.targets import (
    UnreachableTargetError,
    advice,
    check_shapable,
    local_curvature,
    local_negative_slope,
    local_slope,
)


@dataclasses.dataclass(frozen=True)
class DKS:
    """Deep Kernel Shaping: cosines keep 0 and 1 and are moved little in between.

    Every layer gets Q(1) = 1, Q'(1) = q_slope, C(0) = 0 and the same slope C'(1), chosen so that
    the largest C_f'(1) over all subnetworks f is zeta. relu has one constant too few: its Q'(1) is
    whatever comes out.

    Attributes:
      activation: name in `ACTIVATIONS`.
      zeta: > 1; the larger, the more nonlinear the network.
      q_slope: Q'(1) of each layer; 1 keeps q values where they are, to first order.

    Raises:
      ValueError: for an unknown activation, one that cannot meet the conditions (square, identity),
        or targets out of range.

    Source: Martens et al. 2021, arXiv 2110.01765.
    """

    activation: str = "softplus"
    zeta: float = 1.5
    q_slope: float = 1.0

    def __post_init__(self) -> None:
        _refuse_polynomials("DKS", self.activation)
        if not (math.isfinite(self.zeta) and self.zeta > 1):
            raise ValueError(
                f"zeta={self.zeta} must be greater than 1, the slope of a linear network; "
                "DKS uses 1.5"
            )
        if not (math.isfinite(self.q_slope) and self.q_slope > 0):
            raise ValueError(f"q_slope={self.q_slope} must be greater than 0; leave it at 1")
        if self.activation in ("relu", "leaky_relu") and self.q_slope != 1:
            raise ValueError(
                f"q_slope={self.q_slope} cannot be met by {self.activation}; leave it at 1 or use "
                "a smooth activation such as softplus"
            )

    @property
    def targets(self) -> dict[str, float]:
        """The targets by name."""
        q_slope = {"q_slope": self.q_slope} if self.q_slope != 1 else {}
        return {"zeta": self.zeta, **q_slope}

    @property
    def unsolved(self) -> ShapedActivation:
        """The activation with neutral constants, to build and trace a network with."""
        return ShapedActivation(self.activation)

    def solve(
        self, graph: KernelGraph | int, *, subnetworks: Subnetworks = "all"
    ) -> ShapedActivation:
        """The activation for every nonlinear layer of `graph`.

        Args:
          graph: from `kernel_graph`, or the number of nonlinear layers of a plain chain.
          subnetworks: "all", or "reference" for the two candidates of the authors' ResNets.

        Raises:
          UnreachableTargetError: if no constants meet zeta in this network.
        """
        graph = _as_graph(graph)
        psi = local_slope(graph, self.zeta, subnetworks)
        try:
            return self._solve_local(psi)
        except UnreachableTargetError as error:
            hint = advice(lambda depth: self._solve_local(self.zeta ** (1 / depth)), graph)
            raise UnreachableTargetError(f"zeta={self.zeta}: {error}; {hint}") from None

    def _solve_local(self, psi: float) -> ShapedActivation:
        if self.activation == "leaky_relu":
            return solve_dks_leaky_relu(psi)
        if self.activation == "relu":
            return solve_dks_relu(psi)
        return solve_dks(self.activation, psi, self.q_slope)


@dataclasses.dataclass(frozen=True)
class TAT:
    """Tailored Activation Transformations: nearby inputs are neither torn apart nor merged.

    Smooth activations: every layer gets Q(1) = Q'(1) = C'(1) = 1 and the same curvature C''(1),
    chosen so that the largest C_f''(1) over all subnetworks f is tau. leaky_relu: Q(q) = q and
    C'(1) = 1 hold by themselves, and the negative slope makes the largest C_f(0) equal to eta. With
    a linear share p of each layer's channels the network holds paths of many depths; a layer's map
    is then p c + (1 - p) C_a(c), and the others get a smaller slope for the same eta.

    Attributes:
      activation: leaky_relu or a smooth name in `ACTIVATIONS`.
      eta: leaky_relu only, in (0, 1), default 0.9; the larger, the more nonlinear.
      tau: smooth activations only, > 0, default 0.3; the larger, the more nonlinear.
      linear_share: leaky_relu only, in [0, 1): share of the channels that stay linear.

    Raises:
      ValueError: for an unknown activation, one with a kink (relu, selu) or that cannot meet the
        conditions (square, identity), or targets out of range.

    Source: Zhang et al. 2022, arXiv 2203.08120.
    """

    activation: str = "leaky_relu"
    eta: float | None = None
    tau: float | None = None
    linear_share: float = 0.0

    def __post_init__(self) -> None:
        _refuse_polynomials("TAT", self.activation)
        wanted, unwanted, default = "tau", "eta", 0.3
        if self.activation == "leaky_relu":
            wanted, unwanted, default = "eta", "tau", 0.9
        elif pointwise(self.activation).kinked:
            raise ValueError(
                f"TAT cannot shape {self.activation}: its slope jumps, so the curvature C''(1) is "
                "infinite; use leaky_relu or a smooth activation such as tanh"
            )
        if getattr(self, unwanted) is not None:
            raise ValueError(
                f"TAT on {self.activation} takes {wanted}, not {unwanted}; pass {wanted}=..., "
                f"default {default}"
            )
        if getattr(self, wanted) is None:
            object.__setattr__(self, wanted, default)
        if self.eta is not None and not 0 < self.eta < 1:
            raise ValueError(
                f"eta={self.eta} must be between 0 and 1 (both excluded); TAT uses 0.9"
            )
        if self.tau is not None and not (math.isfinite(self.tau) and self.tau > 0):
            raise ValueError(f"tau={self.tau} must be greater than 0; TAT uses 0.3")
        _ = self.unsolved  # refuses a linear_share out of range, or of another activation

    @property
    def targets(self) -> dict[str, float]:
        """The targets by name."""
        given = {"eta": self.eta, "tau": self.tau, "linear_share": self.linear_share or None}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def unsolved(self) -> ShapedActivation:
        """The activation with neutral constants, to build and trace a network with."""
        return ShapedActivation(self.activation, linear_share=self.linear_share)

    def solve(
        self, graph: KernelGraph | int, *, subnetworks: Subnetworks = "all"
    ) -> ShapedActivation:
        """The activation for every nonlinear layer of `graph`.

        Args:
          graph: from `kernel_graph`, or the number of nonlinear layers of a plain chain.
          subnetworks: "all", or "reference" for the two candidates of the authors' ResNets.

        Raises:
          UnreachableTargetError: if no constants meet the target in this network.
        """
        graph = _as_graph(graph)
        if self.eta is not None:
            slope = local_negative_slope(graph, self.eta, subnetworks, self.linear_share)
            scale = math.sqrt(2 / (1 + slope**2))
            return dataclasses.replace(self.unsolved, negative_slope=slope, output_scale=scale)
        tau = float(self.targets["tau"])
        try:
            return solve_tat(self.activation, local_curvature(graph, tau, subnetworks))
        except UnreachableTargetError as error:
            hint = advice(lambda depth: solve_tat(self.activation, tau / depth), graph)
            raise UnreachableTargetError(f"tau={tau}: {error}; {hint}") from None


@dataclasses.dataclass(frozen=True)
class EOC:
    """Edge of chaos: q values and slopes are kept, nothing is adapted to the depth.

    relu with output scale sqrt(2), so that Q(q) = q and C'(1) = 1; with deep networks all cosines
    go to 1. The baseline that DKS and TAT are compared with.

    Raises:
      ValueError: for another activation than relu.

    Source: He et al. 2015, arXiv 1502.01852; Hayou et al. 2019, arXiv 1902.06853.
    """

    activation: str = "relu"

    def __post_init__(self) -> None:
        pointwise(self.activation)
        if self.activation != "relu":
            raise ValueError(
                f"EOC on {self.activation} needs random biases, which this library does not set; "
                f'use EOC("relu"), or TAT or DKS with {self.activation}'
            )

    @property
    def targets(self) -> dict[str, float]:
        """No targets."""
        return {}

    @property
    def unsolved(self) -> ShapedActivation:
        """The activation with neutral constants."""
        return ShapedActivation(self.activation)

    def solve(
        self, graph: KernelGraph | int, *, subnetworks: Subnetworks = "all"
    ) -> ShapedActivation:
        """sqrt(2) relu, whatever the graph; NotShapableError for unmarked activations."""
        check_shapable(_as_graph(graph))
        del subnetworks
        return ShapedActivation(self.activation, output_scale=math.sqrt(2))


def method_to_json(method: DKS | TAT | EOC) -> dict[str, Any]:
    """Name of the method, activation and targets; `method_from_json` is the inverse."""
    return {
        "method": type(method).__name__,
        "activation": method.activation,
        "targets": dict(method.targets),
    }


def method_from_json(record: Mapping[str, Any]) -> DKS | TAT | EOC:
    """The method of which {"method", "activation", "targets"} is the record.

    Raises:
      ValueError: for an unknown method, or targets that it does not have.
    """
    methods = {kind.__name__: kind for kind in (DKS, TAT, EOC)}
    if record.get("method") not in methods:
        known = ", ".join(methods)
        raise ValueError(f"unknown shaping method {record.get('method')!r}; allowed: {known}")
    try:
        return methods[record["method"]](record["activation"], **record["targets"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"no record of a {record['method']} method: {error}") from None


def _as_graph(graph: KernelGraph | int) -> KernelGraph:
    return graph if isinstance(graph, KernelGraph) else KernelGraph.chain(graph)


def _refuse_polynomials(method: str, activation: str) -> None:
    name = pointwise(activation).name
    if name in ("square", "identity"):
        reason = {
            "square": "no shift and scale of x^2 meets the conditions of DKS or TAT",
            "identity": "it is linear",
        }[name]
        raise ValueError(
            f"{method} cannot shape {activation}: {reason}; use a saturating or rectifying "
            "activation such as tanh, softplus or leaky_relu"
        )
