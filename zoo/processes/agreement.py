"""Values on which all processes of a run have to agree; with one process all of it is trivial."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from zoo.processes.errors import FirstProcessError, ProcessesDifferError

T = TypeVar("T")

_SHOWN = 4  # processes and differences named in an error


def gathered(value: Any) -> list[Any]:
    """The JSON values of all processes, by their numbers; all have to call it."""
    if jax.process_count() == 1:
        return [value]
    content = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.ravel(multihost_utils.process_allgather(np.asarray(content.size, np.int32)))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: content.size] = content
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(rows[i, : sizes[i]].tobytes()) for i in range(len(sizes))]


def require_same(values: Mapping[str, Any]) -> None:
    """Compares JSON values with those of process 0.

    Raises:
      ProcessesDifferError: on all processes, with what differs and where.
    """
    first, *others = (_flat(told) for told in gathered(values))
    lines = []
    for number, told in enumerate(others, start=1):
        changed = [name for name in {**first, **told} if first.get(name) != told.get(name)]
        parts = [f"{n}: {first.get(n)!r} -> {told.get(n)!r}" for n in changed[:_SHOWN]]
        if changed:
            more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
            lines.append(f"process {number} differs from process 0 in {', '.join(parts)}{more}")
    if lines:
        raise ProcessesDifferError(
            "start all processes with the same command, code and data; " + "; ".join(lines[:_SHOWN])
        )


def by_first(work: Callable[[], T]) -> T:
    """What `work` returns in process 0, a JSON value; the others do nothing but learn of it.

    Raises:
      FirstProcessError: on all processes, if `work` raises a `ValueError` in process 0; what it
        raises itself where there is only one process.
    """
    if jax.process_count() == 1:
        return work()
    told: dict[str, Any] = {}
    if jax.process_index() == 0:
        try:
            told = {"value": work()}
        except ValueError as error:
            told = {"error": str(error), "exit_code": getattr(error, "exit_code", None)}
    answer = gathered(told)[0]
    if "error" in answer:
        raise FirstProcessError(answer["error"], answer["exit_code"])
    return answer["value"]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of nested JSON objects by their dotted path."""
    if not isinstance(value, Mapping):
        return {prefix[:-1]: value}
    return {
        k: v for name, item in value.items() for k, v in _flat(item, f"{prefix}{name}.").items()
    }
