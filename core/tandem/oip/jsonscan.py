"""Long JSON in pieces: where its long arrays are, and where their elements end, without making objects of any of it.

A decoder of JSON is one call into C for a whole text, during which no other thread of Python runs, nor an event loop. A
text of some megabytes takes it a tenth of a second, and what it makes of them may be a hundred times as long. So a long
text is first looked over with NumPy, block by block, and then decoded piece by piece.

Whether the text is JSON is not asked here: each piece is decoded strictly, and what is around them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from tandem.errors import MalformedRequest, RequestTooLarge
from tandem.oip import memory

LONG: Final = 65_536
"""A text of more bytes than this is decoded in pieces."""

PIECE: Final = 8192
"""About how many bytes a piece has: what is made of it is forty times as long."""

HELD: Final = 3 * 2**17
"""Bytes that are held for a moment while a piece is decoded, and of a long text while it is looked over."""

_LONG_ARRAY: Final = 256
_MOST_ARRAYS: Final = 4096
_LONGEST_OUTLINE: Final = 4 * LONG
_MOST_DEPTH: Final = 256
_BLOCK: Final = 16_384
# what a decoder makes of each, as measured: test_memory.py keeps them honest
_KEY_COST: Final = 180
_VALUE_COST: Final = 70
_PLACE: Final = re.compile(rb'\s*\[\{"at":(\d{1,9})\}\]\s*')

Text = bytes | memoryview
Flags = npt.NDArray[np.bool_]


class _Block(NamedTuple):
    """A part of a text.

    Attributes:
        start: Where it starts.
        depths: For each byte how many arrays and objects are open after it.
        opens: Whether the byte opens one.
        closes: Whether the byte closes one.
        commas: Whether the byte is a comma between two values.
        codes: The bytes.
    """

    start: int
    depths: npt.NDArray[np.int32]
    opens: Flags
    closes: Flags
    commas: Flags
    codes: npt.NDArray[np.uint8]


@dataclass(slots=True)
class Outline:
    """A text without the content of its long arrays.

    Attributes:
        text: The text; in place of each long array stands another, which says which.
        arrays: The long arrays.
    """

    text: bytes
    arrays: list[memoryview]
    _taken: set[int] = field(default_factory=set)

    def resolve(self, text: Text) -> Text:
        """The array for which the text stands; the text itself if for none."""
        match = _PLACE.fullmatch(text)
        if match is None or int(match[1]) >= len(self.arrays):
            return text
        self._taken.add(int(match[1]))
        return self.arrays[int(match[1])]

    def check_all_taken(self) -> None:
        """Check that no array was left over, which nothing would have read.

        Raises:
            MalformedRequest: One was.
        """
        if len(self._taken) < len(self.arrays):
            raise MalformedRequest("the body has a long array where none belongs")


def outline(text: bytes, depth: int) -> Outline:
    """Set the long arrays of one depth apart.

    Args:
        text: An object in JSON.
        depth: How many arrays and objects are open within such an array, itself and the object included.

    Raises:
        MalformedRequest: Brackets do not match, or are nested too deeply.
        RequestTooLarge: ``too_many_parts``: there is too much beside long arrays.
    """
    starts: list[int] = []
    ends: list[int] = []
    for block in _blocks(text):
        starts += (block.start + np.flatnonzero(block.opens & (block.depths == depth))).tolist()
        ends += (block.start + np.flatnonzero(block.closes & (block.depths == depth - 1))).tolist()
        if len(starts) > _MOST_ARRAYS:
            raise RequestTooLarge(f"the body has more than {_MOST_ARRAYS} arrays", code="too_many_parts")
    if len(starts) != len(ends):
        raise MalformedRequest("the body is not JSON: brackets do not match")
    view = memoryview(text)
    parts: list[bytes | memoryview] = []
    arrays: list[memoryview] = []
    last = 0
    for start, end in zip(starts, ends, strict=True):
        if end - start > _LONG_ARRAY and text[start] == ord("["):
            # still an array, so that the decoder of the outline takes it where it takes an array
            parts += [view[last:start], b'[{"at":%d}]' % len(arrays)]
            arrays.append(view[start : end + 1])
            last = end + 1
    short = b"".join((*parts, view[last:]))
    if len(short) > _LONGEST_OUTLINE:
        raise RequestTooLarge(
            f"the body has more than {_LONGEST_OUTLINE} bytes beside long arrays", code="too_many_parts"
        )
    return Outline(short, arrays)


class Piece(NamedTuple):
    """Elements of an array.

    Attributes:
        first: Index of the first of them.
        text: An array of them, in JSON; where ``alone``, the element itself.
        alone: Whether it is one element that is long by itself.
    """

    first: int
    text: Text
    alone: bool


def pieces(array: Text, most: int) -> Iterator[Piece] | None:
    """An array in pieces of about :data:`PIECE` bytes.

    Args:
        array: An array in JSON, from its first bracket to its last.
        most: How many elements it may have.

    Returns:
        The pieces; None if it has more elements.
    """
    commas = 0
    for block in _blocks(array):
        commas += int(np.count_nonzero(block.commas & (block.depths == 1)))
        # an array of n has n - 1 commas, and an empty one none either
        if commas >= max(most, 1):
            return None
    return _cut(memoryview(array))


def check_structure(text: bytes, size: int) -> None:
    """Refuse JSON of which a decoder would make too many objects.

    Args:
        text: JSON.
        size: Length of the message in bytes.

    Raises:
        RequestTooLarge: ``too_many_parts``.
    """
    cost = _KEY_COST * text.count(b":") + _VALUE_COST * count_values(text)
    memory.Budget(size).spend(cost, "its keys and values")


def count_values(text: Text) -> int:
    """How many values are in the arrays and objects of a text, all together; an empty one may count as one more."""
    return 1 + sum(int(np.count_nonzero(block.commas)) + int(np.count_nonzero(block.opens)) for block in _blocks(text))


def _cut(array: memoryview) -> Iterator[Piece]:
    """Pieces up to the last comma of each block; an element that goes over several blocks is one of its own."""
    start = first = 0  # from bracket to bracket
    for block in _blocks(array, PIECE):
        commas = (block.start + np.flatnonzero(block.commas & (block.depths == 1))).tolist()
        # the end of a long element: the short ones after it go into a piece of their own
        if commas and commas[0] - start > PIECE:
            yield _piece(array, first, start, commas[0], single=True)
            start, first = commas.pop(0), first + 1
        if commas:
            yield _piece(array, first, start, commas[-1], single=len(commas) == 1)
            start, first = commas[-1], first + len(commas)
    yield _piece(array, first, start, len(array) - 1, single=True)


def _piece(array: memoryview, first: int, start: int, stop: int, *, single: bool) -> Piece:
    text = array[start + 1 : stop]
    alone = single and len(text) > LONG
    return Piece(first, text if alone else b"[" + text + b"]", alone)


def _blocks(text: Text, size: int | None = None) -> Iterator[_Block]:
    codes = np.frombuffer(text, np.uint8)
    size = size or _BLOCK
    depth, quoted, slashes = 0, 0, 0
    for start in range(0, len(codes), size):
        block = codes[start : start + size]
        quotes = block == ord('"')
        slash = block == ord("\\")
        # most texts have none
        if slashes or slash.any():
            slashes = _drop_escaped(quotes, slash, slashes)
        # odd where a string is open; bytes may wrap around, which keeps them odd or even
        counts = np.cumsum(quotes, dtype=np.uint8)
        outside = ((counts + quoted) & 1) == 0
        quoted = (quoted + int(counts[-1])) & 1
        # [ and { differ by one bit, and so do ] and }
        either = block | 0x20
        opens = (either == ord("{")) & outside
        closes = (either == ord("}")) & outside
        depths = np.cumsum(opens.view(np.int8) - closes.view(np.int8), dtype=np.int32)
        depths += depth
        depth = int(depths[-1])
        if depths.max() > _MOST_DEPTH:
            raise MalformedRequest("the body is nested too deeply")
        yield _Block(start, depths, opens, closes, (block == ord(",")) & outside, block)


def _drop_escaped(quotes: Flags, slash: Flags, before: int) -> int:
    """Clear the quotes that a backslash escapes.

    Args:
        quotes: Where quotes are.
        slash: Where backslashes are.
        before: How many backslashes the text before ends with.

    Returns:
        How many it ends with now.
    """
    places = np.arange(len(slash))
    # the last place up to each that has no backslash
    breaks = np.maximum.accumulate(np.where(slash, -1 - before, places))
    run = places - breaks
    preceding: Any = np.concatenate(([before], run[:-1]))
    quotes &= (preceding & 1) == 0
    return int(run[-1])
