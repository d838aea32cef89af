"""A first convolution for images with another number of channels, and their normalisation.

With per-location normalisation (a channel of ones appended, each pixel divided by its root mean
square) the answers to images whose channels agree stay what they were, exactly and at borders too.
"""

import numpy as np

_Result = tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]


def change_channels(
    kernel: np.ndarray,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    channels: int,
    *,
    per_location: bool,
) -> _Result:
    """Kernel, mean and std for images of n channels, from those for C channels.

    More channels: new channel j takes after j mod C, of which there are r copies.

      kernel'_j = a kernel_c / sqrt(r)   std'_j = sqrt(r) std_c   mean'_j = mean_c
      kernel'_1 = a kernel_1             a = sqrt((C + 1) / (n + 1))

    Fewer: new channel g stands for all c with c mod n = g, which it fed alike (grey for R, G, B).

      A_g = sum_c 1 / std_c^2            mean'_g = sum_c mean_c / std_c^2 / A_g
      D = 1 + sum_c (mean_c - mean'_g)^2 / std_c^2   std'_g = sqrt(D / A_g)
      kernel'_g = a std'_g sum_c kernel_c / std_c    a = sqrt((C + 1) / ((n + 1) D))
      kernel'_1 = a (kernel_1 + sum_c kernel_c (mean'_g - mean_c) / std_c)

    Here kernel_1 is that of the appended ones. Both follow from writing the pixel divided by its
    root mean square in the new coordinates; the mean square of what the convolution sees, and so
    the kernel's q, is as before. Without per-location normalisation: the means over r copies, and
    sums over c with D = C / n; then fewer channels are exact where their means agree only.

    Args:
      kernel: [height, width, C, outputs], or C + 1 with `per_location`.
      mean, std: per image channel.
      channels: n.
      per_location: whether a channel of ones is appended.
    """
    old = np.asarray(kernel, np.float64)
    images, ones = old[:, :, : len(mean)], old[:, :, len(mean) :]
    change = _more if channels > len(mean) else _fewer
    images, ones, new_mean, new_std = change(
        images, ones, np.asarray(mean), np.asarray(std), channels, per_location
    )
    new = np.concatenate([images, ones], axis=2).astype(kernel.dtype)
    return new, tuple(map(float, new_mean)), tuple(map(float, new_std))


def _more(
    images: np.ndarray, ones: np.ndarray, mean: np.ndarray, std: np.ndarray, n: int, exact: bool
) -> tuple[np.ndarray, ...]:
    source = np.arange(n) % len(mean)
    copies = np.bincount(source)[source]
    if not exact:
        return images[:, :, source] / copies[:, None], ones, mean[source], std[source]
    gain = np.sqrt((len(mean) + 1) / (n + 1))
    spread = np.sqrt(copies)
    kernel = gain * images[:, :, source] / spread[:, None]
    return kernel, gain * ones, mean[source], spread * std[source]


def _fewer(
    images: np.ndarray, ones: np.ndarray, mean: np.ndarray, std: np.ndarray, n: int, exact: bool
) -> tuple[np.ndarray, ...]:
    group = np.arange(len(mean)) % n
    member = (group[:, None] == np.arange(n)).astype(np.float64)
    total = std**-2 @ member
    new_mean = (mean * std**-2) @ member / total
    shift = (new_mean[group] - mean) / std
    spread = 1 + np.sum(shift**2) if exact else np.bincount(group)
    new_std = np.sqrt(spread / total)
    summed = np.einsum("hwco,c,cg->hwgo", images, 1 / std, member) * new_std[:, None]
    if not exact:
        return summed, ones, new_mean, new_std
    gain = np.sqrt((len(mean) + 1) / ((n + 1) * spread))
    offset = np.einsum("hwco,c->hwo", images, shift)[:, :, None]
    return gain * summed, gain * (ones + offset), new_mean, new_std
