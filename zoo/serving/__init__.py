"""`zoo serve`: a classifier behind HTTP, for one machine.

Pictures that arrive within five milliseconds are answered by one pass of the network. What may be
sent is bounded in bytes, pixels and seconds; whatever is wrong is answered by a sentence.
"""

from zoo.serving.answering import Answering
from zoo.serving.application import Limits, MissingServerError, application, serve
from zoo.serving.batching import Batcher, BusyError

__all__ = [
    "Answering",
    "Batcher",
    "BusyError",
    "Limits",
    "MissingServerError",
    "application",
    "serve",
]
