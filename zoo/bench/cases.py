"""What is measured: a case is one thing to be done, by every side that can do it."""

import dataclasses
from typing import Any, Literal

Kind = Literal["train", "infer", "matrix", "solve", "command"]
"""A training step, a forward pass, the product of two square matrices, a shaping solution, and a
command from its start to its end."""

ARCH = "vanilla_resnet50_tat_lrelu"


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
      kind: what is done.
      name: in words.
      arch: of train and infer.
      image_size: side of the images in pixels; of matrix, of the matrices.
      batch: images.
      dtype: of the computation.
      options: of the network.
      layers: nonlinear layers of solve.
      method: of solve, "TAT" or "DKS".
      activation: of solve.
      arguments: of command: ours, and those of the peer's Python, if it has a like.
    """

    kind: Kind
    name: str
    arch: str = ""
    image_size: int = 0
    batch: int = 0
    dtype: str = "float32"
    options: tuple[tuple[str, Any], ...] = ()
    layers: int = 0
    method: str = ""
    activation: str = ""
    arguments: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @property
    def has_network(self) -> bool:
        """Whether images go through a network."""
        return self.kind in ("train", "infer")


def network_case(
    kind: Literal["train", "infer"],
    arch: str,
    image_size: int,
    batch: int,
    dtype: str,
    **options: Any,
) -> Case:
    """A training step or a forward pass of a network with fresh weights."""
    what = {"train": "training step", "infer": "inference"}[kind]
    told = "".join(f", {name} {value}" for name, value in options.items())
    name = f"{what}: {arch}, {image_size} px{told}, batch {batch}, {dtype}"
    return Case(kind, name, arch, image_size, batch, dtype, tuple(options.items()))


def _networks() -> list[Case]:
    cases = []
    for dtype in ("float32", "bfloat16"):
        for width in (0.125, 0.25):
            cases.append(network_case("train", ARCH, 32, 128, dtype, stem="cifar", width=width))
        cases.append(network_case("train", ARCH, 224, 8, dtype))
        cases.append(network_case("infer", ARCH, 32, 128, dtype, stem="cifar", width=0.25))
        cases.append(network_case("infer", ARCH, 224, 8, dtype))
        cases.append(network_case("infer", ARCH, 224, 1, dtype))
    return cases


def _matrices() -> list[Case]:
    return [
        Case("matrix", f"product of two 1,024 x 1,024 matrices, {dtype}", image_size=1024,
             dtype=dtype)
        for dtype in ("float32", "bfloat16")
    ]  # fmt: skip


def _solutions() -> list[Case]:
    return [
        Case("solve", f"solution of {method} for {activation}, 49 layers", layers=49,
             method=method, activation=activation)
        for method, activation in (("TAT", "leaky_relu"), ("DKS", "softplus"), ("TAT", "tanh"))
    ]  # fmt: skip


def _commands() -> list[Case]:
    import_peer = ("-c", "import torch")
    predict = ("-m", "zoo", "predict", f"{ARCH}.digits", "{picture}", "--top", "1")
    return [
        Case("command", "import", arguments=(("-c", "import zoo"), import_peer)),
        Case("command", "list of all networks", arguments=(("-m", "zoo", "list"), ())),
        Case(
            "command",
            "cold start to the first prediction, 8 px",
            arguments=(predict, ("{peers}/predict.py", "{export}", "{picture}")),
        ),
    ]


CASES: tuple[Case, ...] = (*_matrices(), *_networks(), *_solutions(), *_commands())
"""What `zoo bench` measures."""
