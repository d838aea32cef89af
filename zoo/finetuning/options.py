"""The options of fine-tuning: every field is an argument of `finetune`, and of its command.

Needs neither JAX nor Flax, so that the command line knows the options without them.
"""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneOptions:
    """How a pretrained network is trained on other data.

    Attributes:
      train: head (the linear probe alone), last:N (the last N blocks and the head) or all.
      layer_decay: factor on the rate per block below the head.
      steps: updates at most; None: 20 epochs, at least 200 and at most 20,000 steps.
      epochs: passes over the training images, in place of steps.
      batch_size: examples per step over all devices.
      accumulate_steps: parts of a batch that are computed one after the other, to save memory.
      optimizer: the update rule.
      learning_rate: peak of the cosine schedule; None: 0.03 for sgd, 0.001 for adamw.
      weight_decay: of the kernels; added to the gradient for sgd and kfac, decoupled for others.
      label_smoothing: share of each target spread evenly over all classes.
      flip: mirror half of the images; auto: of photographs in colour.
      crop: pad shifts images by up to an eighth of their side, resize cuts out a quarter of the
        area or more; auto: of photographs in colour pad below 96 pixels, else resize.
      class_weights: balanced counts every class alike, however many images it has.
      ema_decay: decay of averaged weights, which are then what is kept; None: no average.
      dtype: of the computation, weights stay float32; None: the pretrained network's.
      seed: of the order of examples and of the augmentation.
      bad_examples: skip leaves out images that cannot be read, counts and lists them.
      data_terms: terms of the data in one sentence, for the card of the network.
    """

    train: str = "all"
    layer_decay: float = 1.0
    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 64
    accumulate_steps: int = 1
    optimizer: Literal["sgd", "adamw", "lamb", "muon", "kfac", "soap"] = "sgd"
    learning_rate: float | None = None
    weight_decay: float = 0.0
    # Without it a small data set is fitted until the logits, and the loss on other images, explode.
    label_smoothing: float = 0.1
    flip: Literal["auto", "yes", "no"] = "auto"
    crop: Literal["auto", "pad", "resize", "no"] = "auto"
    class_weights: Literal["none", "balanced"] = "none"
    ema_decay: float | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    seed: int = 0
    bad_examples: Literal["error", "skip"] = "error"
    data_terms: str | None = None
