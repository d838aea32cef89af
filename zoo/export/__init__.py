"""Weights in other forms: one safetensors file, a Hugging Face folder, a PyTorch state dict."""

from zoo.export.forms import ExportError, export

__all__ = ["ExportError", "export"]
