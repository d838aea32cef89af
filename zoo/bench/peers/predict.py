"""From nothing to the most probable class of a picture, in PyTorch; run by its Python.

python predict.py FOLDER PICTURE   # FOLDER: what `zoo export --format torch` wrote
"""

import runpy
import sys

import numpy as np
import torch
from PIL import Image

folder, picture = sys.argv[1:]
run = runpy.run_path(f"{folder}/run.py")
size, channels = run["about"]["preprocess"]["image_size"], run["about"]["preprocess"]["channels"]
with Image.open(picture) as opened:
    pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB").resize(size))
images = torch.from_numpy(pixels.copy()).reshape(1, *size, channels).permute(0, 3, 1, 2)
print(run["about"]["classes"][run["logits"](images.float()).argmax().item()])
