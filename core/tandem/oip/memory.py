"""How much memory a message may come to: bounded by its length, before anything is made of it.

A few bytes can stand for an object of hundreds: an empty tensor takes two bytes in protobuf, an empty list three in
JSON. A client that sends nothing else would make a server hold a hundred times of what it sent. So each decoder knows
what the parts of a message cost, and refuses one that would come to more than its :class:`Budget`.
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


class Budget:
    """What may still be decoded from a message.

    Args:
        size: Length of the message in bytes.
        held: Bytes that are held for a moment at most, while parts of it are decoded.
    """

    __slots__ = ("_left", "_size")

    def __init__(self, size: int, held: int = 0) -> None:
        self._size = size
        self._left = (FACTOR - 1) * size + SLACK - held

    def spend(self, cost: int, what: str, tensor: str = "") -> None:
        """Take bytes for something that is about to be decoded.

        Args:
            cost: How many it comes to.
            what: What they are spent on, for the client.
            tensor: Name of the tensor that it belongs to.

        Raises:
            RequestTooLarge: ``too_many_parts``: there are not so many left.
        """
        self._left -= cost
        if self._left < 0:
            where = f"tensor {tensor!r}: " if tensor else ""
            limit = f"{FACTOR} times its {self._size} bytes"
            raise RequestTooLarge(
                f"{where}with {what} the request would take over {limit}; send fewer at once",
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
