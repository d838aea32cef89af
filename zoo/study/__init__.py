"""Studies: networks trained alike, set beside each other. `zoo compare` is this package."""

from zoo.study.comparison import RATES, Comparison, Contender, Sweep, compare, find_sweep
from zoo.study.estimate import Estimate, short
from zoo.study.groups import (
    Group,
    better_groups,
    chosen_rate,
    groups,
    rates_by_trials,
    same_budget,
)
from zoo.study.results import Result, read_evidence
from zoo.study.state import State, state_of
from zoo.study.training import located, train

__all__ = [
    "RATES",
    "Comparison",
    "Contender",
    "Estimate",
    "Group",
    "Result",
    "State",
    "Sweep",
    "better_groups",
    "chosen_rate",
    "compare",
    "find_sweep",
    "groups",
    "located",
    "rates_by_trials",
    "read_evidence",
    "same_budget",
    "short",
    "state_of",
    "train",
]
