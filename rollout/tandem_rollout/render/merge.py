"""Merging overrides into a manifest."""

from __future__ import annotations

from typing import Any


def merge(base: Any, over: Any) -> Any:
    """Merge ``over`` into ``base``: maps by key, lists of named elements by name. Other values are replaced.

    None in ``over`` removes a key, as in a JSON merge patch (RFC 7396).
    """
    if isinstance(base, dict) and isinstance(over, dict):
        merged = {**base}
        for key, value in over.items():
            if value is None:
                merged.pop(key, None)
            else:
                # also without a base, so that None removes keys at every depth
                merged[key] = merge(base.get(key, {}), value)
        return merged
    if _named(base) and _named(over):
        overrides = {element["name"]: element for element in over}
        elements = [merge(element, overrides.pop(element["name"], {})) for element in base]
        return elements + list(overrides.values())
    return over


def _named(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_has_name, value))


def _has_name(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)
