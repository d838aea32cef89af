"""Weights with everything that belongs to them: find, read, verify, load and write them.

Names are resolved on first use, so that listing weights does not import JAX.
"""

import importlib
from typing import Any

_HOME = {
    "CachedWeight": "cache",
    "IndexEntry": "index",
    "LoadReport": "adapting",
    "Manifest": "manifest",
    "ManifestError": "strict_json",
    "UnknownWeightError": "address",
    "adapt": "adapting",
    "find": "index",
    "list_cached": "cache",
    "list_pretrained": "index",
    "load_pretrained": "loading",
    "locate": "sources",
    "read_index": "index",
    "read_manifest": "manifest",
    "record_of": "writing",
    "remove_cached": "staging",
    "shaping_record": "writing",
    "write_index": "index",
    "write_pretrained": "writing",
}

__all__ = list(_HOME)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'zoo.pretrained' has no attribute {name!r}")
    return getattr(importlib.import_module(f"zoo.pretrained.{_HOME[name]}"), name)
