"""One backward pass by layer, and singular values of Jacobians."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.cpu.sums import whole_mean
from zoo.inspection.prediction import Prediction
from zoo.inspection.report import LayerNorms, Spectrum
from zoo.inspection.subject import Subject
from zoo.inspection.taps import Tapped, weight_names, weights_of
from zoo.models import Network as ZooNetwork

_BATCH = 16
_PIXELS = 1 << 18  # of all images of a batch together: 5 images of 224 x 224
_BLOCK = 3
_EXACT = 512  # smaller side of a Jacobian that is computed whole
_LEADING = 32


def norms(
    subject: Subject, data: str | None, seed: int
) -> tuple[list[float], list[float], list[LayerNorms], str]:
    """Root mean squares by tap of activations and gradients, norms by layer, and the batch's name.

    The loss is the cross entropy of the labels for outputs [batch, classes], else half the mean
    square of the output.
    """
    images, labels, label = _batch(subject, data, seed)
    tapped, weights = Tapped(subject.network, images.shape), weights_of(subject.network)
    names = weight_names(subject.network)
    places = jax.eval_shape(tapped, weights, images)[1]

    def loss(
        trained: list[Any], offsets: list[Any], images: jax.Array
    ) -> tuple[jax.Array, list[jax.Array]]:
        output, taps = tapped([*trained, *weights[len(names) :]], images, offsets)
        if output.ndim != 2:
            return whole_mean(output**2) / 2, taps
        chosen = jax.nn.log_softmax(output)[jnp.arange(len(output)), labels % output.shape[1]]
        return -jnp.mean(chosen), taps

    @jax.jit
    def step(trained: list[Any], images: jax.Array) -> list[list[jax.Array]]:
        # Only means leave the device: at 224 pixels the signals themselves are a gigabyte.
        zeros = [jnp.zeros(one.shape, one.dtype) for one in places]
        gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
        (by_weight, by_tap), taps = gradient(trained, zeros, images)
        return [[_rms(one) for one in some] for some in (taps, by_tap, trained, by_weight)]

    trained = weights[: len(names)]
    signals, gradients, *by_layer = (list(map(float, some)) for some in step(trained, images))
    layers = [
        LayerNorms(name, of_weight, of_gradient, of_gradient / of_weight)
        for name, leaf, of_weight, of_gradient in zip(names, trained, *by_layer, strict=True)
        if leaf.ndim > 1 and of_weight
    ]
    return signals, gradients, layers, label


def spectra(
    subject: Subject,
    drawn: list[list[Any]],
    inputs: np.ndarray,
    prediction: Prediction | None,
) -> list[Spectrum]:
    """Of input -> features, of a block of three layers (of chains), and of input -> output."""
    x = jnp.asarray(inputs[0, 0, :1])
    tapped = Tapped(subject.network, x.shape)
    last = len(jax.eval_shape(tapped, drawn[0], x)[1]) - 1
    middle = last // 2
    parts: list[tuple[str, int, int | None]] = [("input to features", 0, last)]
    if prediction and prediction.taps[last].graph.is_chain and last > middle + _BLOCK:
        parts.append((f"layers {middle} to {middle + _BLOCK}", middle, middle + _BLOCK))
    parts.append(("input to output", 0, None))
    return [_spectrum(part, tapped, drawn, x, prediction) for part in parts]


def _spectrum(
    part: tuple[str, int, int | None],
    tapped: Tapped,
    drawn: list[list[Any]],
    x: jax.Array,
    prediction: Prediction | None,
) -> Spectrum:
    name, start, end = part
    sizes = [value.shape for value in jax.eval_shape(tapped, drawn[0], x)[1]]
    n_in = int(np.prod(sizes[start]))

    def run(offset: jax.Array, weights: list[Any]) -> jax.Array:
        offsets = [jnp.zeros(size) for size in sizes]
        offsets[start] = offset.reshape(sizes[start])
        output, taps = tapped(weights, x, offsets)
        return (output if end is None else taps[end]).ravel()

    n_out = jax.eval_shape(run, jnp.zeros(n_in), drawn[0]).size
    is_whole = min(n_in, n_out) <= _EXACT
    solve = jax.jit(_whole(run, n_in, n_out) if is_whole else _leading(run, n_in))
    with jax.default_matmul_precision("highest"):
        values = [np.asarray(solve(weights)) * (n_in / n_out) ** 0.5 for weights in drawn]
    shares = [float(np.sum(np.square(one))) / n_in for one in values]
    predicted = None
    if prediction and is_whole and end is not None and not prediction.taps[end].is_assumed:
        before, after = (prediction.slope(prediction.taps[i]) for i in (start, end))
        predicted = after / before if before and after else None
    error = float(np.std(shares, ddof=1) / len(shares) ** 0.5) if len(shares) > 1 else None
    return Spectrum(name, [v.tolist() for v in values], float(np.mean(shares)), error, predicted)


def _whole(run: Any, n_in: int, n_out: int) -> Any:
    derivative = jax.jacrev(run) if n_out < n_in else jax.jacfwd(run)
    return lambda weights: jnp.linalg.svd(derivative(jnp.zeros(n_in), weights), compute_uv=False)


def _leading(run: Any, n_in: int) -> Any:
    """The leading singular values by a randomised range finder (arXiv 0909.4061)."""

    def solve(weights: list[Any]) -> jax.Array:
        at = jnp.zeros(n_in)
        _, forward = jax.linearize(lambda offset: run(offset, weights), at)
        _, backward = jax.vjp(lambda offset: run(offset, weights), at)
        probes = jax.random.normal(jax.random.key(0), (2 * _LEADING, n_in))
        basis, _ = jnp.linalg.qr(jax.lax.map(forward, probes).T)
        rows = jax.lax.map(lambda column: backward(column)[0], basis.T)
        return jnp.linalg.svd(rows, compute_uv=False)[:_LEADING]

    return solve


def _batch(subject: Subject, data: str | None, seed: int) -> tuple[Any, Any, str]:
    """Inputs [batch, ...], labels [batch], and what they are."""
    rng = np.random.default_rng(seed)
    if data is None:
        labels = rng.integers(0, 2**20, _BATCH)
        noise = rng.normal(size=(_BATCH, *subject.shape[1:])).astype(np.float32)
        return jnp.asarray(noise), labels, f"{_BATCH} examples of noise with random labels"
    if not isinstance(subject.network, ZooNetwork):
        raise ValueError(
            f"data={data!r} needs a network of the zoo; leave it out for {subject.name}"
        )
    from zoo.data import Preprocessing, open_source

    source = open_source(data, "test")
    side, channels = subject.network.config.image_size, subject.network.config.in_channels
    default = Preprocessing((side, side))
    if channels == 1:
        default = Preprocessing((side, side), mean=(0.5,), std=(0.5,), channels=1)
    preprocess = subject.preprocess or default
    count = min(_BATCH, max(1, _PIXELS // side**2), len(source))
    chosen = rng.choice(len(source), count, replace=False)
    records = [source[int(i)] for i in chosen]
    images = preprocess([record.image for record in records])
    labels = np.array([record.label for record in records])
    return jnp.asarray(images), labels, f"{len(records)} images of {data} test"


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(whole_mean(jnp.square(x)))
