"""The few lines with which a PyTorch user runs an exported network; text, nothing is imported."""

import math
from collections.abc import Collection

from zoo.shaping import ShapedActivation

_FORMULAS = {
    "identity": "x",
    "tanh": "torch.tanh(x)",
    "atan": "torch.atan(x)",
    "asinh": "torch.asinh(x)",
    "sin": "torch.sin(x)",
    "cos": "torch.cos(x)",
    "sigmoid": "torch.sigmoid(x)",
    "erf": "torch.erf(x)",
    "softplus": "torch.logaddexp(x, torch.zeros_like(x))",
    "softsign": "nn.functional.softsign(x)",
    "bentid": "(torch.sqrt(x * x + 1) - 1) / 2 + x",
    "swish": "nn.functional.silu(x)",
    "silu": "nn.functional.silu(x)",
    "elu": "nn.functional.elu(x)",
    "selu": "nn.functional.selu(x)",
    "gelu": 'nn.functional.gelu(x, approximate="tanh")',
    "gelu_exact": "nn.functional.gelu(x)",
    "square": "x * x",
    "relu": "torch.relu(x)",
    "leaky_relu": "nn.functional.leaky_relu(x, {slope!r})",
}

_TEXT = '''"""{id} in PyTorch: from run import about, logits, network."""
import json, pathlib, torch
from safetensors import safe_open
from torch import nn

{classes}with safe_open(pathlib.Path(__file__).with_name("{weights}"), "pt") as file:
    about = json.loads(file.metadata()["weight"])
    state = {{name: file.get_tensor(name) for name in file.keys()}}
make = lambda kind, *args: (globals().get(kind) or getattr(nn, kind))(*args)
network = nn.Sequential(*(make(*layer) for layer in about["layers"])).requires_grad_(False)
network.load_state_dict(state)

def logits(images):
    """uint8 [n, channel, height, width], resized as about["preprocess"] says -> [n, classes]."""
    mean, std = (torch.tensor(about["preprocess"][k]).view(-1, 1, 1) for k in ("mean", "std"))
    return network((images / 255 - mean) / std)
'''


_CLASSES = {
    "PerLocation": """class PerLocation(nn.Module):
    def forward(self, x):
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        return x * torch.rsqrt((x * x).mean(1, keepdim=True))
""",
    "Activation": """class Activation(nn.Module):
    def forward(self, x):
        {body}
""",
    "CReLU": """class CReLU(nn.Module):
    def forward(self, x):
        return torch.cat([x.clamp(min=0), (-x).clamp(min=0)], 1)
""",
    "Mirror": """class Mirror(nn.Module):
    def forward(self, x):
        return torch.cat([x, -x], 1)
""",
    "NCReLU": """class NCReLU(nn.Module):
    def forward(self, x):
        return torch.cat([x.clamp(min=0), x.clamp(max=0)], 1)
""",
}


def runner_text(id: str, activation: ShapedActivation, weights: str, kinds: Collection[str]) -> str:
    """A Python program that needs torch and safetensors only.

    Args:
      id: of the weight, for its first line.
      activation: written out as a formula.
      weights: name of the safetensors file beside the program.
      kinds: of layers that it needs.
    """
    classes = "\n".join(text for name, text in _CLASSES.items() if name in kinds)
    classes = classes.format(body=_body(activation))
    return _TEXT.format(id=id, weights=weights, classes=f"{classes}\n" if classes else "")


def _body(activation: ShapedActivation) -> str:
    """output_scale (phi(input_scale x + input_shift) + output_shift), without what does nothing."""
    scale = "" if activation.input_scale == 1 else f"{activation.input_scale!r} * "
    before = _sum(f"{scale}x", activation.input_shift)
    formula = _FORMULAS[activation.phi].format(slope=activation.negative_slope)
    after = _sum(formula, activation.output_shift)
    scale = "" if activation.output_scale == 1 else f"{activation.output_scale!r} * "
    is_call = activation.phi == "leaky_relu" and not activation.output_shift
    scaled = f"{scale}({after})" if scale and not is_call else f"{scale}{after}"
    lines = [] if before == "x" else [f"x = {before}"]
    if activation.linear_share:
        floors = f"torch.arange(x.shape[1] + 1).double().mul({activation.linear_share}).floor()"
        factor = activation.linear_scale / activation.input_scale
        linear = "x" if math.isclose(factor, 1, rel_tol=1e-12) else f"({factor!r} * x)"
        lines.append(f"n = {floors}.diff().view(-1, 1, 1) > 0")
        scaled = f"{linear}.where(n, {scaled})"
    return "\n        ".join([*lines, f"return {scaled}"])


def _sum(text: str, shift: float) -> str:
    return text if shift == 0 else f"{text} + {shift!r}"
