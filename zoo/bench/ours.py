"""Our side of `zoo bench`, a process of its own: python -m zoo.bench.ours JSON KERNELS"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import msgspec

from zoo.bench.cases import Case
from zoo.bench.peers.rounds import serve
from zoo.common.environment import library_versions
from zoo.data import Preprocessing
from zoo.kernels import Kernels, choose_kernels
from zoo.models import create_model, merge, rebuilt, split
from zoo.shaping import DKS, TAT, KernelGraph
from zoo.training import ModelConfig, OptimizerConfig, TrainConfig
from zoo.training.preparing import build_step
from zoo.training.sharding import make_mesh

CLASSES = 1000

Call = Callable[[], object]


def prepare() -> tuple[Call, dict[str, Any]]:
    """What is called, compiled, and the versions that compute."""
    case = msgspec.json.decode(sys.argv[1], type=Case)
    kernels = choose_kernels(sys.argv[2], jax.devices())
    call = _MAKERS[case.kind](case, kernels)
    about = {"version": f"jax {library_versions()['jax']}", "kernels": str(kernels)}
    return call, about


def training(case: Case, kernels: Kernels) -> Call:
    """A step of SGD with momentum on the cross-entropy, its state donated."""
    model = ModelConfig(case.arch, dtype=case.dtype).with_options(**dict(case.options))
    config = TrainConfig(
        steps=1,
        model=model,
        preprocessing=Preprocessing((case.image_size,) * 2),
        optimizer=OptimizerConfig("sgd", learning_rate=1e-3, momentum=0.9),
    )
    network, step = build_step(config, CLASSES, 1, make_mesh(config.mesh))
    state = step.init(split(rebuilt(network))[1])
    compiled = jax.jit(kernels.applied(step), donate_argnums=0)
    batch = {"image": _images(case), "label": jnp.zeros((case.batch,), jnp.int32)}

    def run() -> None:
        nonlocal state
        state, metrics = compiled(state, batch)
        jax.block_until_ready(metrics)

    return run


def inference(case: Case, kernels: Kernels) -> Call:
    """A forward pass over images that are normalised."""
    model = create_model(case.arch, num_classes=CLASSES, dtype=case.dtype, **dict(case.options))
    graphdef, params = split(model)
    forward = jax.jit(kernels.applied(lambda params, images: merge(graphdef, params)(images)))
    images = _images(case).astype(jnp.float32) / 255
    return lambda: jax.block_until_ready(forward(params, images))


def matrix(case: Case, kernels: Kernels) -> Call:
    """The product of two square matrices."""
    a = jnp.ones((case.image_size, case.image_size), case.dtype)
    product = jax.jit(kernels.applied(lambda a: a @ a))
    return lambda: jax.block_until_ready(product(a))


def solution(case: Case, kernels: Kernels) -> Call:
    """The constants of an activation, for layers one after the other."""
    method = {"DKS": DKS, "TAT": TAT}[case.method](case.activation)
    graph = KernelGraph.chain(case.layers)
    return lambda: method.solve(graph)


def _images(case: Case) -> jax.Array:
    shape = (case.batch, case.image_size, case.image_size, 3)
    return jax.random.randint(jax.random.key(0), shape, 0, 256).astype(jnp.uint8)


_MAKERS: dict[str, Callable[[Case, Kernels], Call]] = {
    "train": training,
    "infer": inference,
    "matrix": matrix,
    "solve": solution,
}

if __name__ == "__main__":
    serve(prepare)
