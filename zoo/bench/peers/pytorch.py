"""The PyTorch side of `zoo bench`: an exported network, eager, channels last; run by its Python.

python pytorch.py FOLDER JSON   # FOLDER: what `zoo export --format torch` wrote
"""

import json
import runpy
import sys

import torch
from rounds import serve
from torch.nn.functional import cross_entropy


def prepare() -> tuple:
    """What is called: a training step, or a forward pass; see `zoo.bench.cases`."""
    folder, given = sys.argv[1], json.loads(sys.argv[2])
    torch.manual_seed(0)
    about = {"version": torch.__version__, "threads": torch.get_num_threads()}
    if given["kind"] == "matrix":
        return matrix(given), about
    network = runpy.run_path(f"{folder}/run.py")["network"].to(memory_format=torch.channels_last)
    side = given["image_size"]
    images = torch.randn(given["batch"], 3, side, side).to(memory_format=torch.channels_last)
    forward = torch.autocast("cpu", torch.bfloat16, enabled=given["dtype"] == "bfloat16")(network)
    if given["kind"] == "train":
        return training(network, forward, images), about

    def infer() -> None:
        with torch.inference_mode():
            forward(images)

    return infer, about


def training(network, forward, images):
    """A step of SGD with momentum on the cross-entropy."""
    parameters = list(network.requires_grad_(True).parameters())
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)
    labels = torch.zeros(len(images), dtype=torch.long)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(forward(images).float(), labels).backward()
        optimizer.step()

    return step


def matrix(given):
    """The product of two square matrices."""
    a = torch.ones(given["image_size"], given["image_size"], dtype=getattr(torch, given["dtype"]))
    return lambda: a @ a


if __name__ == "__main__":
    serve(prepare)
