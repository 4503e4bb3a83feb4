"""The same outcomes in other words: nothing may decide by a message."""

from __future__ import annotations

import hashlib
from typing import Any, Final

WORDS: Final = frozenset({"message", "summary"})
"""Names of fields that only people read."""


def nonsense(text: str) -> str:
    """Another text for each; none for none."""
    return f"xyzzy {hashlib.sha256(text.encode()).hexdigest()[:12]}" if text else ""


def garbled(value: Any) -> Any:
    """JSON with other words in all its messages."""
    if isinstance(value, dict):
        return {
            name: nonsense(own) if name in WORDS and isinstance(own, str) else garbled(own)
            for name, own in value.items()
        }
    return [garbled(own) for own in value] if isinstance(value, list | tuple) else value


def silent(value: Any) -> Any:
    """JSON without its messages."""
    if isinstance(value, dict):
        return {name: silent(own) for name, own in value.items() if name not in WORDS or not isinstance(own, str)}
    return [silent(own) for own in value] if isinstance(value, list | tuple) else value
