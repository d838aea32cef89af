"""Fine-tuning: a pretrained network, new classes, and a run directory that knows both."""

from zoo.finetuning.plan import finetuning_config
from zoo.finetuning.probe import embed, linear_probe
from zoo.finetuning.run import FinetuneResult, finetune

__all__ = ["FinetuneResult", "embed", "finetune", "finetuning_config", "linear_probe"]
