"""How much memory an object takes, about."""

from __future__ import annotations

from typing import Any, Final

_ENTRY: Final = 100
"""Bytes of an entry of a map, its key included: keys are short, and mostly shared."""

_MAP: Final = 100
_LIST: Final = 64
_STRING: Final = 56
_NUMBER: Final = 32


def estimate_bytes(value: Any) -> int:
    """Bytes of a value of JSON in memory, about. Any depth will do."""
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
