"""Publishing: a run becomes a weight that others load, measured here and now."""

from zoo.publishing.run import publish_run
from zoo.publishing.sweep import publish_sweep
from zoo.publishing.weights import ReleasedError

__all__ = ["ReleasedError", "publish_run", "publish_sweep"]
