"""`inspect`: predictions and measurements of one network, put together."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.inspection.backward import norms, spectra
from zoo.inspection.pairs import cosine, pairs
from zoo.inspection.prediction import Prediction, predict
from zoo.inspection.report import CMap, Curve, InspectionReport, verdict
from zoo.inspection.subject import Subject, subject_of
from zoo.inspection.taps import Tapped, weights_of
from zoo.shaping import NotShapableError

_PAIRS = 4
_GRID = -np.cos(np.linspace(0, np.pi, 33))  # dense where C maps bend
_C_MAPS = 5


def inspect(
    model_or_id: Any,
    shape: tuple[int, ...] | None = None,
    *,
    data: str | None = None,
    draws: int = 8,
    cosines: tuple[float, ...] = (0.0, 0.5, 0.9),
    seed: int = 0,
) -> InspectionReport:
    """Predicted against measured kernels of a network, its norms and its Jacobians.

      print("\\n".join(inspect("vanilla_resnet50_tat_lrelu").verdict))

    Predictions are those of infinite width with random weights and zero biases. Measurements are
    means over independent draws of the weights; the standard error is over draws.

    Args:
      model_or_id: a model id, a weight, `package.module:function`, an NNX module or a function.
      shape: of the input, batch axis first; zoo networks need none.
      data: name of a data set, whose images then make the batch of the norms; else noise.
      draws: of the weights, at least 2.
      cosines: of the pairs of inputs.
      seed: of the first draw and of the inputs.

    Raises:
      ValueError: for a network that cannot be found or built, or options out of range.
    """
    if draws < 2 or not cosines or not all(-1 < c < 1 for c in cosines):
        raise ValueError(
            f"draws={draws}, cosines={cosines}; give at least 2 draws and cosines between -1 and 1"
        )
    subject = subject_of(model_or_id, shape)
    located = int(np.prod(subject.shape[1:-1])) > 1
    count = 1 if located else _PAIRS
    batch = (2 * len(cosines) * count, *subject.shape[1:])
    tapped = Tapped(subject.network, batch)
    own = weights_of(subject.network)
    try:
        prediction, refusal = predict(subject.network, batch, delta=subject.delta), ""
    except NotShapableError as error:
        prediction, refusal = None, str(error)
    kept = _kept(tapped, own, prediction)
    inputs = pairs(_first_tap(tapped, own, len(cosines) * count), batch, cosines, count, seed)
    taps = jax.jit(lambda weights, x: _values(tapped, kept, weights, x))

    def measure(weights: list[Any]) -> tuple[np.ndarray, np.ndarray]:
        return _kernels(taps(weights, inputs.reshape(batch)), inputs.shape[:3])

    seeds = range(seed, seed + draws) if subject.draw else []
    drawn = [weights_of(subject.draw(one)) for one in seeds] if subject.draw else [own]
    q, c = (np.stack(one) for one in zip(*map(measure, drawn), strict=True))
    trained = measure(own) if subject.is_trained else None
    starts = [float(c[:, i, 0].mean()) for i in range(len(cosines))]
    expected = _expected(prediction, kept, starts, float(q[:, 0].mean()))
    curves = [_curve(c[:, i], expected[i], trained and trained[1][i]) for i in range(len(cosines))]
    depths = [prediction.taps[i].depth for i in kept] if prediction else list(range(len(kept)))
    widths = [value.shape[-1] for value in jax.eval_shape(taps, own, inputs.reshape(batch))]
    signals, gradients, layers, label = norms(subject, data, seed)
    report = InspectionReport(
        name=subject.name,
        shape=tuple(subject.shape),
        draws=len(seeds),
        weights=_described(subject),
        refusal=refusal,
        depths=depths,
        widths=widths,
        cosines=curves,
        q=_curve(q, expected[-1], trained and trained[0]),
        activation_rms=signals,
        gradient_rms=gradients,
        layers=layers,
        spectra=spectra(subject, drawn, inputs, prediction),
        c_maps=_c_maps(prediction, kept) if prediction else [],
        batch=label,
        assumptions=subject.assumptions(),
    )
    return dataclasses.replace(report, verdict=verdict(report))


def _kept(tapped: Tapped, weights: list[Any], prediction: Prediction | None) -> list[int]:
    """The taps to report: all, and the output if nonlinear layers come after the last one."""
    places = prediction.taps if prediction else []
    spec = jax.ShapeDtypeStruct(tapped.shape, jnp.float32)
    taps = jax.eval_shape(tapped, weights, spec)[1]
    if any(tap.ndim < 2 or tap.shape[0] % tapped.shape[0] for tap in taps):
        raise ValueError(
            "the network takes its examples one after the other, so its layers read no batch; use "
            "jax.vmap instead of jax.lax.map to inspect it"
        )
    ends_nonlinear = places and places[-1].depth > max(tap.depth for tap in places[:-1])
    order = range(len(taps) + bool(ends_nonlinear))
    # What leads into a sum is listed before what the sum is compared with: sort by depth.
    return sorted(order, key=lambda i: places[i].depth) if places else list(order)


def _values(tapped: Tapped, kept: list[int], weights: list[Any], inputs: Any) -> list[jax.Array]:
    with jax.default_matmul_precision("highest"):
        output, taps = tapped(weights, inputs)
    return [[*taps, output][i] for i in kept]


def _first_tap(tapped: Tapped, weights: list[Any], half: int) -> Any:
    run = jax.jit(lambda inputs: tapped(weights, inputs)[1][0])
    return lambda x: run(jnp.concatenate([x, x]))[:half]


def _kernels(values: list[jax.Array], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """q [places] and cosines [cosines, places], over all locations and channels."""
    rows = [np.asarray(value, np.float64).reshape(*shape, -1) for value in values]
    q = np.array([np.mean(row**2) for row in rows])
    return q, np.stack([cosine(*row, axis=-1).mean(-1) for row in rows], -1)


def _expected(
    prediction: Prediction | None, kept: list[int], starts: list[float], q: float
) -> list[list[float | None]]:
    """By place, cosines from each of `starts` and last q values; None where there is no map."""
    if prediction is None:
        return [[None] * len(kept) for _ in range(len(starts) + 1)]
    kernels = prediction.kernels(np.asarray(starts), q)
    rows = [
        [None] * (len(starts) + 1)
        if prediction.taps[i].is_assumed
        else [*kernels[i].c.tolist(), kernels[i].q]
        for i in kept
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _curve(measured: np.ndarray, predicted: list[float | None], trained: Any) -> Curve:
    """`measured`: [draws, places]."""
    mean, start = measured.mean(0), float(measured[:, 0].mean())
    many = len(measured) > 1
    error = np.std(measured, axis=0, ddof=1) / len(measured) ** 0.5 if many else None
    return Curve(
        start,
        predicted,
        mean.tolist(),
        None if error is None else error.tolist(),
        None if trained is None else np.asarray(trained).tolist(),
    )


def _c_maps(prediction: Prediction, kept: list[int]) -> list[CMap]:
    chosen = np.unique(np.linspace(0, len(kept) - 1, _C_MAPS + 1).round().astype(int)[1:])
    kernels = prediction.kernels(_GRID)
    return [
        CMap(prediction.taps[i].depth, _GRID.tolist(), kernels[i].c.tolist())
        for i in (kept[k] for k in chosen)
    ]


def _described(subject: Subject) -> str:
    if subject.draw is None:
        return "these weights"
    return "at initialisation, and these weights" if subject.is_trained else "at initialisation"
