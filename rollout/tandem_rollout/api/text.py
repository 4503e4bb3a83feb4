"""Making foreign text safe for a status, an event, a printer column and a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_MAX_LENGTH: Final = 400

CONTROLS: Final[frozenset[int]] = frozenset(
    {*range(0x20), *range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
    - {ord("\n"), ord("\t")}
)
"""Characters that control a terminal: control codes, which start escape sequences, and changes of direction."""

_SHOWN: Final[Mapping[int, str]] = dict.fromkeys(CONTROLS, "\N{REPLACEMENT CHARACTER}")


def printable(text: str) -> str:
    """A text in which the characters that control a terminal are replaced."""
    return text if text.isprintable() else text.translate(_SHOWN)


def one_line(text: str, longest: int = _MAX_LENGTH) -> str:
    """A text as one printable line, truncated to a maximum length."""
    flat = printable(" ".join(text.split()))
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
