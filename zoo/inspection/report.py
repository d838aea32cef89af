"""`InspectionReport`: what was predicted and measured, as plain numbers, and the verdict."""

import dataclasses
from typing import Any

from scipy.special import stdtrit

from zoo.shaping.assumptions import Assumption

COLLAPSED = 0.98
"""Orthogonal inputs that end above this cosine are called hard to tell apart."""
CHANCE = 0.001
"""How often normal errors alone would make a report call its measurements off the maps."""
Q_RANGE = (0.5, 2.0)
MAX_SLOPE = 10.0


@dataclasses.dataclass(frozen=True)
class Curve:
    """One quantity by depth.

    Attributes:
      start: cosine of the inputs; for q values the q value of the inputs.
      predicted: at each of the report's depths, infinite width; None where there is no prediction.
      mean: measured, over draws of the weights.
      error: standard error of `mean`; None for fewer than two draws.
      trained: measured with the trained weights; None if there are none.
    """

    start: float
    predicted: list[float | None]
    mean: list[float]
    error: list[float] | None
    trained: list[float] | None = None


@dataclasses.dataclass(frozen=True)
class LayerNorms:
    """Norms of one weight and what one backward pass does to it.

    Attributes:
      name: attribute path.
      weight: root mean square.
      gradient: root mean square.
      update: |gradient| / |weight|: relative change per unit learning rate of gradient descent.
    """

    name: str
    weight: float
    gradient: float
    update: float


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Singular values of a Jacobian, times sqrt(inputs / outputs).

    Attributes:
      name: of what.
      values: descending, of every draw.
      mean_square: |J|^2 / outputs, |J| the Frobenius norm; mean over draws. Of a Jacobian with more
        than 512 rows and columns only the leading singular values count.
      error: its standard error; None for one draw.
      predicted: C'(1) of that part of the network, infinite width; None if unknown.
    """

    name: str
    values: list[list[float]]
    mean_square: float
    error: float | None
    predicted: float | None


@dataclasses.dataclass(frozen=True)
class CMap:
    """The C map down to one depth: `predicted` at each of `start`."""

    depth: int
    start: list[float]
    predicted: list[float]


@dataclasses.dataclass(frozen=True)
class InspectionReport:
    """Everything `inspect` found; `to_json` is its plain form.

    Attributes:
      name: what was inspected.
      shape: of the input used for kernels and spectra.
      draws: of the weights; 0 if these weights only.
      weights: "at initialisation", "these weights", or both.
      refusal: why there is no prediction, or "".
      depths: nonlinear layers before each place that is measured.
      widths: channels there.
      cosines: one curve for each initial cosine.
      q: q values by depth.
      activation_rms, gradient_rms: by place, for one batch.
      layers: one per weight matrix or kernel.
      spectra: of Jacobians.
      c_maps: at several depths.
      batch: what the batch of the norms was.
      assumptions: what the maps take for granted on inputs of the network's own size.
      verdict: sentences.
    """

    name: str
    shape: tuple[int, ...]
    draws: int
    weights: str
    refusal: str
    depths: list[int]
    widths: list[int]
    cosines: list[Curve]
    q: Curve
    activation_rms: list[float]
    gradient_rms: list[float]
    layers: list[LayerNorms]
    spectra: list[Spectrum]
    c_maps: list[CMap]
    batch: str
    assumptions: tuple[Assumption, ...] = ()
    verdict: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Dicts, lists, numbers and text."""
        return dataclasses.asdict(self)

    @property
    def depth_over_width(self) -> float:
        """Sum of 1 / channels over the places: how far finite width may move the measurements."""
        return sum(1 / width for width in self.widths)


def deviations(curve: Curve) -> list[tuple[float, float]]:
    """|measured - predicted| at each place past the input, as it is and in standard errors."""
    rows = zip(curve.predicted, curve.mean, curve.error or (), strict=curve.error is not None)
    return [(abs(m - p), abs(m - p) / e) for p, m, e in rows if p is not None and e > 1e-5]


def verdict(report: InspectionReport) -> tuple[str, ...]:
    """What the numbers say, each sentence with the threshold it used."""
    depth = report.depths[-1]
    apart = min(report.cosines, key=lambda curve: abs(curve.start))
    predicted = apart.predicted[-1]
    final = apart.mean[-1] if predicted is None else predicted
    sentences = []
    if final > COLLAPSED:
        sentences.append(
            f"Cosines collapse: inputs at cosine {apart.start:.2f} end at {final:.5f} after "
            f"{depth} nonlinear layers, so inputs are hard to tell apart and training is "
            f"expected to be slow (threshold {COLLAPSED})."
        )
    else:
        sentences.append(
            f"Inputs stay apart: those at cosine {apart.start:.2f} end at {final:.5f} after "
            f"{depth} nonlinear layers (threshold {COLLAPSED})."
        )
    expected, measured, (low, high) = report.q.predicted[-1], report.q.mean[-1], Q_RANGE
    q = measured if expected is None else expected
    state = "keep their scale" if low <= q <= high else "lose their scale"
    spread = f" +- {report.q.error[-1]:.2g}" if report.q.error else ""
    given = "" if expected is None else f"the predicted q value ends at {expected:.3f}, "
    sentences.append(
        f"Signals {state}: {given}the measured one at {measured:.3f}{spread} "
        f"(allowed {low} to {high})."
    )
    slope = next((s.predicted for s in report.spectra if s.predicted is not None), None)
    if slope is not None:
        state = "are kept" if 1 / MAX_SLOPE <= slope <= MAX_SLOPE else "vanish or explode"
        sentences.append(
            f"Gradients {state}: the network's C map has slope C'(1) = {slope:.4g} "
            f"(allowed {1 / MAX_SLOPE:g} to {MAX_SLOPE:g})."
        )
    taken = [f"Taken for granted: {one}." for one in report.assumptions]
    return (*sentences, *taken, _agreement(report))


def _agreement(report: InspectionReport) -> str:
    if report.refusal:
        return f"There is no prediction: {report.refusal}."
    found = [one for curve in report.cosines for one in deviations(curve)]
    if not found and report.assumptions and report.draws > 1:
        return "Predictions were not checked: they end where something is taken for granted."
    if not found:
        return "Predictions were not checked: these weights are the only draw there is."
    apart, errors = (max(column) for column in zip(*found, strict=True))
    allowed = float(stdtrit(report.draws - 1, 1 - CHANCE / 2 / len(found)))
    state = "show no difference" if errors <= allowed else "differ"
    return (
        f"Measured cosines {state} from the infinite-width maps: they are at most {apart:.4f} and "
        f"at most {errors:.1f} standard errors of {report.draws} draws apart (allowed "
        f"{allowed:.1f}, Student's t for {len(found)} comparisons). The sum of 1 / width over "
        f"layers is {report.depth_over_width:.2f}: finite width shifts means by that order at most "
        "and makes single draws scatter by its square root."
    )
