"""Write the bundled ImageNet labels from their published sources.

usage: imagenet_labels.py FOLDER OUT

FOLDER holds class_index.tsv, val_labels.txt, real.json, imagenet_a_indices.txt and
imagenet_r_indices.txt; zoo/data/imagenet/SOURCES.txt says where each comes from.
"""

import json
import lzma
import sys
from pathlib import Path

from zoo.common.console import quiet_pipe

PRESET = 9 | lzma.PRESET_EXTREME


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    rows = [row.split("\t") for row in (folder / "class_index.tsv").read_text().splitlines()]
    rows = [row for row in rows if row[0].isdigit()]
    values = {
        "wnids": [row[1] for row in rows],
        "names": [row[2] for row in rows],
        "val": _numbers(folder / "val_labels.txt"),
        "real": json.loads((folder / "real.json").read_text()),
        "imagenet-a": _numbers(folder / "imagenet_a_indices.txt"),
        "imagenet-r": _numbers(folder / "imagenet_r_indices.txt"),
    }
    text = json.dumps(values, separators=(",", ":"))
    out.write_bytes(lzma.compress(text.encode(), preset=PRESET))


def _numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
