"""Training: a configuration in, a run directory with a trained network out."""

from zoo.training.config import (
    DIGITS_PREPROCESSING,
    CheckpointConfig,
    DataConfig,
    EvalConfig,
    LogConfig,
    MeshConfig,
    RegularizationConfig,
    TrainConfig,
)
from zoo.training.config_file import load_config
from zoo.training.decode import ConfigError
from zoo.training.diagnosis import NonFiniteError, OutOfMemoryError
from zoo.training.folder import ResumeError, read_metrics
from zoo.training.loop import FitResult, fit
from zoo.training.model_config import ModelConfig
from zoo.training.optimizer import decay_mask, layer_multipliers, make_optimizer
from zoo.training.optimizer_config import (
    KfacConfig,
    OptimizerConfig,
    ScheduleConfig,
    SoapConfig,
)
from zoo.training.preparing import prepare
from zoo.training.run import Run
from zoo.training.schedule import make_schedule
from zoo.training.signals import (
    BudgetSpent,
    Interrupted,
    Preempted,
    RunStopped,
)
from zoo.training.step import TrainState, TrainStep
from zoo.training.stopping import EarlyStopping
from zoo.training.train import train
from zoo.training.validation import validate

__all__ = [
    "DIGITS_PREPROCESSING",
    "BudgetSpent",
    "CheckpointConfig",
    "ConfigError",
    "DataConfig",
    "EarlyStopping",
    "EvalConfig",
    "FitResult",
    "Interrupted",
    "KfacConfig",
    "LogConfig",
    "MeshConfig",
    "ModelConfig",
    "NonFiniteError",
    "OptimizerConfig",
    "OutOfMemoryError",
    "Preempted",
    "RegularizationConfig",
    "ResumeError",
    "Run",
    "RunStopped",
    "ScheduleConfig",
    "SoapConfig",
    "TrainConfig",
    "TrainState",
    "TrainStep",
    "decay_mask",
    "fit",
    "layer_multipliers",
    "load_config",
    "make_optimizer",
    "make_schedule",
    "prepare",
    "read_metrics",
    "train",
    "validate",
]
