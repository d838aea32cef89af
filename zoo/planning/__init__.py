"""What a training run will cost on devices that are not here."""

from zoo.planning.collectives import Collective, collectives
from zoo.planning.plan import Memory, Plan, plan
from zoo.planning.topology import CHIPS, Chip, PlanError

__all__ = ["CHIPS", "Chip", "Collective", "Memory", "Plan", "PlanError", "collectives", "plan"]
