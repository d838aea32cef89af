"""Size, speed and memory of many networks, a row each, as a CSV file."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

from zoo.bench.cases import network_case
from zoo.bench.running import Sides, measure
from zoo.complexity import count_macs, count_params
from zoo.models import create_model

COLUMNS = (
    "model", "image_size", "batch", "dtype", "parameters", "macs",
    "infer_images_per_second", "infer_memory_bytes",
    "train_images_per_second", "train_memory_bytes",
)  # fmt: skip


def measure_models(
    archs: Sequence[str],
    *,
    image_size: int = 224,
    batch: int = 8,
    dtype: str = "float32",
    rounds: int = 3,
    tell: Callable[[str], None] = lambda text: None,
    **options: Any,
) -> list[dict[str, Any]]:
    """One row for each network, with fresh weights; a speed that could not be measured is None.

    Args:
      archs: ids of networks.
      image_size: side of the images in pixels.
      batch: images.
      dtype: of the computation.
      rounds: of each measurement, the median of which counts.
      tell: takes a sentence on how far it is.
      **options: of the networks.

    Returns:
      Rows of `COLUMNS`: images per second by the faster of our kernels, and the largest resident
      set of the process that ran them.
    """
    rows = []
    for number, arch in enumerate(archs, 1):
        tell(f"{number}/{len(archs)} {arch}")
        model = create_model(arch, abstract=True, **options)
        row: dict[str, Any] = {
            "model": arch,
            "image_size": image_size,
            "batch": batch,
            "dtype": dtype,
            "parameters": count_params(model),
            "macs": count_macs(model, (image_size, image_size, model.config.in_channels)),
        }
        kinds: tuple[Literal["infer", "train"], ...] = ("infer", "train")
        for kind in kinds:
            row |= _speed(kind, arch, image_size, batch, dtype, rounds, options)
        rows.append(row)
    return rows


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """The rows below the names of their columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _speed(
    kind: Literal["infer", "train"],
    arch: str,
    image_size: int,
    batch: int,
    dtype: str,
    rounds: int,
    options: dict[str, Any],
) -> dict[str, Any]:
    case = network_case(kind, arch, image_size, batch, dtype, **options)
    sides = measure(case, Sides.ours(case), rounds)["sides"].values()
    fastest = min(
        (side for side in sides if "seconds" in side),
        key=lambda side: side["seconds"],
        default=None,
    )
    return {
        f"{kind}_images_per_second": fastest and round(batch / fastest["seconds"], 1),
        f"{kind}_memory_bytes": fastest and fastest["memory"],
    }
