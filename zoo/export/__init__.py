"""Weights in other forms: one safetensors file, a Hugging Face folder, a PyTorch state dict."""

from zoo.export.forms import ExportError, export
from zoo.export.hub import PushError, push
from zoo.export.releases import release

__all__ = ["ExportError", "PushError", "export", "push", "release"]
