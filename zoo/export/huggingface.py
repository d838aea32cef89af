"""A weight as a folder of Hugging Face's form: config.json, model.safetensors, README.md.

Its manifest.json, as in every published weight's folder, vouches for each of them, so that
`load_pretrained` reads the folder from a disk, a server or the hub alike.
"""

import json
import re
from pathlib import Path
from typing import Any

from zoo.checkpoint import file_digests, save_single_file
from zoo.classifier import Classifier
from zoo.pretrained import Manifest
from zoo.pretrained.card import render_card
from zoo.pretrained.manifest import MANIFEST, SINGLE_FILE
from zoo.pretrained.writing import record_of

CONFIG, README = "config.json", "README.md"


def write_huggingface(model: Classifier, folder: Path, name: str) -> Manifest:
    """Writes `folder`, which must not exist.

    Args:
      model: with `classes`.
      folder: where to write.
      name: how the card calls the source, such as hf:ORG/NAME; its end is the tag of a weight
        that is not published.

    Raises:
      ValueError: if the model lacks classes.
    """
    tag = re.sub("[^a-z0-9_]+", "_", re.split("[/@]", name)[-1].lower()).strip("_")
    record = record_of(model, tag or "unpublished")
    folder.mkdir()
    about = json.dumps(record, sort_keys=True)
    save_single_file(folder / SINGLE_FILE, model.split()[1], about)
    manifest = Manifest(**record, files=file_digests(folder))
    config = json.dumps(_config(manifest), indent=2, sort_keys=True)
    (folder / CONFIG).write_text(config + "\n", encoding="utf-8")
    (folder / README).write_text(render_card(manifest, source=name), encoding="utf-8")
    manifest = Manifest(**record, files=file_digests(folder))
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _config(manifest: Manifest) -> dict[str, Any]:
    """What the hub and its readers look for; loading reads the manifest only."""
    height, width, channels = manifest.input_size
    keys = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
    return {
        "model_type": "flax-vanilla-zoo",
        "architectures": [manifest.arch],
        "id": manifest.id,
        "num_classes": len(manifest.classes),
        "id2label": {str(index): name for index, name in enumerate(manifest.classes)},
        "image_size": [height, width],
        "num_channels": channels,
        "pretrained_cfg": {
            "input_size": [channels, height, width],
            **{key: manifest.preprocess[key] for key in keys},
        },
    }
