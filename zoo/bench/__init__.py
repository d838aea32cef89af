"""`zoo bench`: how fast the zoo is here, beside its peers, in the same run."""

from zoo.bench.cases import CASES, Case
from zoo.bench.catalogue import measure_models
from zoo.bench.running import bench

__all__ = ["CASES", "Case", "bench", "measure_models"]
