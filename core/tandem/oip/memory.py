"""How much memory a message may come to: bounded by its length, before anything is made of it.

A few bytes can stand for an object of hundreds: an empty tensor takes two bytes in protobuf, an empty list three in
JSON. A client that sends nothing else would make a server hold a hundred times of what it sent. So each decoder knows
what the parts of a message cost, and refuses one that would come to more than :func:`allowance`.
"""

from __future__ import annotations

from typing import Final

from tandem.errors import RequestTooLarge

FACTOR: Final = 4
"""A message and all that is decoded from it take at most this many times its bytes …"""

SLACK: Final = 2**20
"""… and this many bytes more."""

MAX_PARTS: Final = 1024
"""Most tensors of one message; as many requested outputs, and as many parameters."""


def allowance(size: int) -> int:
    """How many bytes may be decoded from a message of ``size`` bytes, beside these."""
    return (FACTOR - 1) * size + SLACK


def check(cost: int, size: int, what: str) -> None:
    """Refuse a message that would take too much memory.

    Args:
        cost: How many bytes it would come to.
        size: Its length in bytes.
        what: What they would be spent on, for the client.

    Raises:
        RequestTooLarge: ``too_many_parts``.
    """
    if cost > allowance(size):
        raise RequestTooLarge(
            f"{what} would take more than {FACTOR} times the {size} bytes of the message; send fewer in one request",
            code="too_many_parts",
        )


def check_count(count: int, what: str, most: int = MAX_PARTS) -> None:
    """Refuse a message of too many parts.

    Args:
        count: How many it has.
        what: Of what, in the plural.
        most: How many are taken.

    Raises:
        RequestTooLarge: ``too_many_parts``.
    """
    if count > most:
        raise RequestTooLarge(f"the message has more than {most} {what}", code="too_many_parts")
