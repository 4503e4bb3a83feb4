"""What is kept of the values of one column in one window, from which statistics are computed.

Parts are merged exactly, by operations that are associative and commutative. So the result depends only on the values,
and not on their order or on how they are cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any, Final, Literal

from tandem.windows.exact_sums import ExactSum, add_exactly, sum_exactly, sum_squares_exactly
from tandem.windows.sketches import decode_sketch, encode_sketch, merge_sketches, sketch

PartKind = Literal["count", "sum", "squares", "min", "max", "last", "distinct"]
"""Number of the values; their exact sum; that of their squares; the least; the greatest; event time and value of the
latest, and of several at that time the greatest; a sketch of the different ones."""


@dataclass(frozen=True, slots=True)
class Part:
    """How a part is computed.

    Attributes:
        of: The part of some values, at least one, and of their event times.
        merge: The part of two parts' values.
        encode: Its form in MessagePack.
        decode: The part of that form.
    """

    of: Callable[[Sequence[Any], Sequence[int]], Any]
    merge: Callable[[Any, Any], Any]
    encode: Callable[[Any], Any] = lambda part: part
    decode: Callable[[Any], Any] = lambda form: form


def _encode_sum(total: ExactSum) -> tuple[bytes, int]:
    # MessagePack has whole numbers of 64 bits
    return total[0].to_bytes(total[0].bit_length() // 8 + 1, "little", signed=True), total[1]


def _decode_sum(form: tuple[bytes, int]) -> ExactSum:
    return int.from_bytes(form[0], "little", signed=True), form[1]


PARTS: Final[Mapping[PartKind, Part]] = {
    "count": Part(lambda values, times: len(values), add),
    "sum": Part(lambda values, times: sum_exactly(values), add_exactly, _encode_sum, _decode_sum),
    "squares": Part(lambda values, times: sum_squares_exactly(values), add_exactly, _encode_sum, _decode_sum),
    "min": Part(lambda values, times: min(values), min),
    "max": Part(lambda values, times: max(values), max),
    "last": Part(lambda values, times: max(zip(times, values, strict=True)), max, decode=tuple),
    "distinct": Part(lambda values, times: sketch(values), merge_sketches, encode_sketch, decode_sketch),
}
