"""Writes kfac.json: three steps of kfac-jax on a tiny network, for `test_kfac.py` to repeat.

Made by `pip install kfac-jax==0.0.8 'jax<=0.9.1'` in an environment of its own, then
`python tests/training/golden/kfac_jax_steps.py`.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import kfac_jax
import numpy as np

BATCH, SIDE, CLASSES, STEPS = 8, 5, 3, 3
SHAPES = {
    "first.kernel": (3, 3, 2, 3),
    "first.bias": (3,),
    "second.kernel": (1, 1, 3, 4),
    "second.bias": (4,),
    "head.kernel": (4, CLASSES),
    "head.bias": (CLASSES,),
}
SETTINGS = {
    "learning_rate": 0.02,
    "momentum": 0.9,
    "damping": 0.01,
    "norm_constraint": 1e-3,
    "curvature_decay": 0.95,
    "inverse_period": 2,
}


def convolve(x, kernel, stride, margin):
    padding = [(margin, margin), (margin, margin)]
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=numbers
    )


def loss(params, batch):
    images, labels = batch
    x = jnp.tanh(convolve(images, params["first.kernel"], 2, 1) + params["first.bias"])
    x = jnp.tanh(convolve(x, params["second.kernel"], 1, 0) + params["second.bias"])
    logits = jnp.mean(x, axis=(1, 2)) @ params["head.kernel"] + params["head.bias"]
    kfac_jax.register_softmax_cross_entropy_loss(logits, labels)
    return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])


def main():
    draw = np.random.default_rng(0)
    images = draw.normal(size=(STEPS, BATCH, SIDE, SIDE, 2)).round(3)
    labels = draw.integers(0, CLASSES, (STEPS, BATCH))
    initial = {name: draw.normal(size=shape).round(3) for name, shape in SHAPES.items()}
    # The labels given stand for those that it would draw.
    kfac_jax.CategoricalLogitsNegativeLogProbLoss.sample = lambda self, rng: self.targets
    optimizer = kfac_jax.Optimizer(
        jax.value_and_grad(loss),
        l2_reg=0.0,
        learning_rate_schedule=lambda step: SETTINGS["learning_rate"],
        momentum_schedule=lambda step: SETTINGS["momentum"],
        damping_schedule=lambda step: SETTINGS["damping"],
        norm_constraint=SETTINGS["norm_constraint"],
        curvature_ema=SETTINGS["curvature_decay"],
        inverse_update_period=SETTINGS["inverse_period"],
        num_burnin_steps=0,
        estimation_mode="fisher_gradients",
    )
    params = {name: jnp.asarray(value, jnp.float32) for name, value in initial.items()}
    batches = [
        (jnp.asarray(x, jnp.float32), jnp.asarray(y)) for x, y in zip(images, labels, strict=True)
    ]
    state = optimizer.init(params, jax.random.key(0), batches[0])
    after, factors = [], {}
    for step, batch in enumerate(batches):
        params, state, _ = optimizer.step(
            params, state, jax.random.key(step), batch=batch, global_step_int=step
        )
        after.append({name: listed(value) for name, value in params.items()})
    kept_by_block = state.estimator_state.blocks_states
    for block, kept in zip(optimizer._estimator.blocks, kept_by_block, strict=True):
        kernel = next(n for n, shape in SHAPES.items() if shape == block.parameters_shapes[0])
        first, second = (np.asarray(factor.value) for factor in kept.factors)
        # kfac-jax keeps a convolution's number of locations apart from both factors.
        scaled = float(block.fixed_scale()) * second
        factors[kernel.removesuffix(".kernel")] = [listed(first), listed(scaled)]
    golden = {
        "settings": SETTINGS,
        "images": images.tolist(),
        "labels": labels.tolist(),
        "initial": {name: value.tolist() for name, value in initial.items()},
        "after": after,
        "factors": factors,
    }
    Path(__file__).with_name("kfac.json").write_text(json.dumps(golden) + "\n")


def listed(value):
    return [[float(f"{x:.7g}") for x in row] for row in np.atleast_2d(flat(value))]


def flat(value):
    return np.asarray(value).reshape(-1, value.shape[-1])


if __name__ == "__main__":
    main()
