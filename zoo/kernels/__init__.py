"""What makes a program fast on one backend, with the plain form beside it."""

from zoo.kernels.choice import KERNELS, Kernels, choose_kernels
from zoo.kernels.library import NoKernelsError
from zoo.kernels.rewriting import with_onednn

__all__ = ["KERNELS", "Kernels", "NoKernelsError", "choose_kernels", "with_onednn"]
