"""Messages of others, as they fit into a status, an event and a printer column."""

from __future__ import annotations

from typing import Final

_LONGEST: Final = 400


def one_line(text: str, longest: int = _LONGEST) -> str:
    """A text in one line, cut where it has more characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
