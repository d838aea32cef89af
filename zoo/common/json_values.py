"""Values as JSON has them: plain, finite, and one text for equal values."""

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """`value` with lists in the place of tuples and dictionaries in that of mappings."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def finite(value: Any) -> Any:
    """`plain(value)` with null for every NaN and infinity, for which JSON has no form."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def canonical(value: Any) -> bytes:
    """The one JSON text of `value`; equal values give equal bytes.

    Raises:
      ValueError: `value` holds NaN, infinity or something JSON has no form for.
    """
    return (json.dumps(value, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()
