"""The other side of tools/benchmark_input.py: torchvision on the same images, run by its Python.

usage: PYTHON torchvision_input.py FOLDER SIZE INTERPOLATION IMAGES

For every line on standard input it makes IMAGES crops in each of two forms, on one core, and prints
the processor seconds each took, as JSON. Needs torch and torchvision, and nothing of this project.
"""

import json
import sys
import time
from pathlib import Path

import torch  # pyrefly: ignore[missing-import] of another environment
from torchvision.io import ImageReadMode, decode_jpeg  # pyrefly: ignore[missing-import]
from torchvision.transforms import v2  # pyrefly: ignore[missing-import]


def main() -> None:
    folder, size, interpolation, count = sys.argv[1:]
    torch.set_num_threads(1)
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    files = [torch.frombuffer(bytearray(p.read_bytes()), dtype=torch.uint8) for p in paths]
    crop = v2.RandomResizedCrop(
        int(size), interpolation=v2.InterpolationMode(interpolation), antialias=True
    )
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    floats = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, deviation)]
    forms = {
        "torchvision: decode_jpeg, RandomResizedCrop": crop,
        "torchvision: the same, flip, normalise": v2.Compose(
            [crop, v2.RandomHorizontalFlip(), *floats]
        ),
    }
    for _ in sys.stdin:
        seconds = {}
        for name, form in forms.items():
            started = time.process_time()
            for k in range(int(count)):
                form(decode_jpeg(files[k % len(files)], mode=ImageReadMode.RGB))
            seconds[name] = time.process_time() - started
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
