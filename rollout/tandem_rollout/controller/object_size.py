"""Estimates of the memory of an object."""

from __future__ import annotations

from typing import Any, Final

_ENTRY: Final = 100
"""Bytes of an entry of a map, with its key: keys are short, and mostly shared."""

_MAP: Final = 100
_LIST: Final = 64
_STRING: Final = 56
_NUMBER: Final = 32


def estimate_bytes(value: Any) -> int:
    """Estimated bytes of a JSON value in memory. The value may have any depth."""
    total, rest = 0, [value]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            total += _MAP + _ENTRY * len(part) + sum(len(key) for key in part)
            rest.extend(part.values())
        elif isinstance(part, list):
            total += _LIST + 8 * len(part)
            rest.extend(part)
        else:
            total += _STRING + len(part) if isinstance(part, str) else _NUMBER
    return total
