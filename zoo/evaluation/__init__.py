"""Measuring and using trained models: exact accuracy, and class names for image files."""

from zoo.evaluation.accuracy import NonFiniteLogitsError, evaluate, evaluate_params, label_ranks
from zoo.evaluation.bulk import OutOfMemoryError, evaluate_all, evaluate_within_memory
from zoo.evaluation.compatibility import ClassMismatchError
from zoo.evaluation.prediction import predict
from zoo.evaluation.result import EvalResult

__all__ = [
    "ClassMismatchError",
    "EvalResult",
    "NonFiniteLogitsError",
    "OutOfMemoryError",
    "evaluate",
    "evaluate_all",
    "evaluate_params",
    "evaluate_within_memory",
    "label_ranks",
    "predict",
]
