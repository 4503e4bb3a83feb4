"""Messages of others, as they fit into a status, an event and a printer column."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 400


def one_line(text: str) -> str:
    """A text in one line, cut where it is too long."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _LONGEST else flat[: _LONGEST - 1] + "…"
