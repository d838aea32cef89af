"""The conditions of DKS and of smooth TAT on one nonlinear layer, as two equations in two unknowns.

With f(x) = phi(alpha x + beta) the layer is phi_hat = (f + delta) / sqrt(Var f + m^2), where
m = E[f] + delta. Given (alpha, beta), DKS fixes m = 0 (so that C(0) = 0), and TAT fixes |m| by
C'(1) = 1, that is m^2 = E[f'^2] - Var f, which is never negative (Poincare's inequality).
"""

import dataclasses
import math
from typing import Protocol

import numpy as np

from zoo.shaping.moments import Moments

_TINY = 1e-300  # keeps the logarithm finite where rounding makes a non-negative difference 0


class Equations(Protocol):
    """Two equations for (alpha, beta)."""

    def residuals(self, at: Moments) -> np.ndarray:
        """[2, starts]: the conditions themselves, zero at a root."""
        ...

    def merit(self, at: Moments) -> np.ndarray:
        """[2, starts]: zero at a root, nearly linear in (log alpha, beta)."""
        ...

    def mean(self, at: Moments) -> np.ndarray:
        """[starts]: m = E[f] + delta."""
        ...

    def limit(self, first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
        """Function of beta that is zero where roots with small alpha are.

        Args:
          first, second, third: derivatives of phi at beta.
        """
        ...

    def limit_scale(self) -> float:
        """alpha |phi''(beta) / phi'(beta)| at such a root, to lowest order."""
        ...


@dataclasses.dataclass(frozen=True)
class DksEquations:
    """C'(1) = psi and Q'(1) = q_slope, with C(0) = 0 and Q(1) = 1 built in."""

    psi: float
    q_slope: float = 1.0

    def residuals(self, at: Moments) -> np.ndarray:
        """C'(1) - psi and Q'(1) - q_slope."""
        return np.stack(
            [at.slope / at.variance - self.psi, at.q_slope / at.variance - self.q_slope]
        )

    def merit(self, at: Moments) -> np.ndarray:
        """log of (C'(1) - 1) / (psi - 1), which is 2 log alpha + O(alpha^2), and scaled Q'(1)."""
        bend = np.maximum((at.slope - at.variance) / at.variance, _TINY)
        return np.stack([np.log(bend / (self.psi - 1)), self.residuals(at)[1] / (self.psi - 1)])

    def mean(self, at: Moments) -> np.ndarray:
        """0, so that C(0) = 0."""
        return np.zeros_like(at.mean)

    def limit(self, first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
        """Q'(1) - 1 = (alpha / phi')^2 (phi''^2 / 2 + phi' phi''') + O(alpha^4)."""
        return second**2 / 2 + first * third

    def limit_scale(self) -> float:
        """C'(1) - 1 = (alpha phi'' / phi')^2 / 2 + O(alpha^4)."""
        return math.sqrt(2 * (self.psi - 1))


@dataclasses.dataclass(frozen=True)
class TatEquations:
    """C''(1) = kappa and Q'(1) = 1, with C'(1) = 1 and Q(1) = 1 built in.

    Attributes:
      kappa: local curvature.
      sign: of m, 1 or -1; both are tried.
    """

    kappa: float
    sign: float

    def residuals(self, at: Moments) -> np.ndarray:
        """C''(1) - kappa and Q'(1) - 1; the denominator Q(1) is E[f'^2], as C'(1) = 1."""
        q_slope = at.q_slope + self.mean(at) * at.drift
        return np.stack([at.curvature / at.slope - self.kappa, q_slope / at.slope - 1])

    def merit(self, at: Moments) -> np.ndarray:
        """log of C''(1) / kappa, which is 2 log alpha + O(alpha^2), and scaled Q'(1)."""
        bend = np.maximum(at.curvature / at.slope, _TINY)
        return np.stack([np.log(bend / self.kappa), self.residuals(at)[1] / self.kappa])

    def mean(self, at: Moments) -> np.ndarray:
        """+-sqrt(E[f'^2] - Var f), so that C'(1) = 1."""
        return self.sign * np.sqrt(np.maximum(at.slope - at.variance, 0))

    def limit(self, first: np.ndarray, second: np.ndarray, third: np.ndarray) -> np.ndarray:
        """Q'(1) - 1 = (alpha / phi')^2 (phi' phi''' +- |phi''| phi'' / sqrt 2) + O(alpha^4)."""
        return first * third + self.sign * np.abs(second) * second / math.sqrt(2)

    def limit_scale(self) -> float:
        """C''(1) = (alpha phi'' / phi')^2 + O(alpha^4)."""
        return math.sqrt(self.kappa)
