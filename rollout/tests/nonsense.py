"""The same outcomes in other words: nothing may decide by a message."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import pytest

from tandem_rollout.api.cause import Cause, Reason

WORDS: Final = frozenset({"message", "summary"})
"""Names of fields that only people read."""


_SPELL: Final = "xyzzy "


def nonsense(text: str) -> str:
    """Another text for each; none for none. Nonsense stays what it is."""
    if not text or text.startswith(_SPELL):
        return text
    return _SPELL + hashlib.sha256(text.encode()).hexdigest()[:12]


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


def speak_nonsense(patch: pytest.MonkeyPatch) -> None:
    """From now on every cause is made with a message that says nothing."""
    for kind in _kinds(Cause):
        patch.setattr(kind, "__init__", _garbling(kind.__init__))


def _kinds(kind: type[Cause]) -> list[type[Cause]]:
    """A class and all that are derived from it."""
    return [kind, *(descendant for own in kind.__subclasses__() for descendant in _kinds(own))]


def _garbling(init: Callable[..., None]) -> Callable[..., None]:
    def garbled_init(self: Cause, reason: Reason, message: str, *more: Any, **named: Any) -> None:
        init(self, reason, nonsense(message), *more, **named)

    return garbled_init
