"""Looking into a network: what the theory predicts for it against what is measured."""

from zoo.inspection.inspecting import inspect
from zoo.inspection.page import MissingPlotsError, write_page
from zoo.inspection.prediction import Prediction, predict
from zoo.inspection.report import InspectionReport

__all__ = [
    "InspectionReport",
    "MissingPlotsError",
    "Prediction",
    "inspect",
    "predict",
    "write_page",
]
