"""A weight as a StableHLO program, through `jax.export`: any network that JAX traces.

The folder holds `model.jax_export`, `weight.json` and `run.py`, which runs it by JAX alone: no zoo,
no Flax, no code of the network. JAX promises to read it for six months, and to run on newer ones
what an older one wrote.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export as jax_export

from zoo.classifier import Classifier, logits
from zoo.pretrained.writing import record_of

PROGRAM, ABOUT, RUNNER = "model.jax_export", "weight.json", "run.py"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_TEXT = '''"""{id} by JAX alone: from run import about, logits."""
import json, pathlib
from jax import export

here = pathlib.Path(__file__).parent
about = json.loads((here / "{about}").read_text())
program = export.deserialize(bytearray((here / "{program}").read_bytes()))


def logits(images):
    """uint8 [n, height, width, channel], resized as about["preprocess"] says -> [n, classes]."""
    return program.call(images)
'''


def write_stablehlo(model: Classifier, folder: Path) -> None:
    """Writes `folder`, which must not exist; the program runs on all of `PLATFORMS`.

    Its input is uint8 [batch, height, width, channel] with a free batch; normalising is part of it.
    """
    record = record_of(model)
    folder.mkdir()
    (folder / PROGRAM).write_bytes(_program(model).serialize())
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    (folder / ABOUT).write_text(text, encoding="utf-8")
    text = _TEXT.format(id=record["id"], about=ABOUT, program=PROGRAM)
    (folder / RUNNER).write_text(text, encoding="utf-8")


def _program(model: Classifier) -> jax_export.Exported:
    (batch,) = jax_export.symbolic_shape("batch")
    height, width = model.preprocess.image_size
    shape = (batch, height, width, model.preprocess.channels)
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)

    def answer(images: jax.Array) -> jax.Array:
        return logits(model.network, model.preprocess, images)

    return jax_export.export(jax.jit(answer), platforms=PLATFORMS)(images)
