"""Weights in forms that need no JAX: one safetensors file, or a PyTorch state dict to run."""

from zoo.export.forms import ExportError, export

__all__ = ["ExportError", "export"]
