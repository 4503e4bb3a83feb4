"""What JSON decoders let pass or do not explain: keys given twice, and numbers that Python writes and JSON lacks."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from tandem.errors import MalformedRequest, Violation
from tandem.oip import jsonscan
from tandem.oip.tensors import MAX_DIMENSIONS

_MOST_DETAILS: Final = 100
# shorter text stays within the budget of memory whatever is in it
_MUCH: Final = 32_768
_LONGEST_AXIS: Final = 2**31
_SPACED: Final = (b" :", b"\n:", b"\t:", b"\r:")


def check_keys(text: bytes, count: int) -> None:
    """Check JSON that a decoder has taken for keys given twice, closely only where their number tells of one.

    Args:
        text: JSON.
        count: How many keys the decoder has seen, each key of an object once.

    Raises:
        MalformedRequest: if an object has the same key twice.
    """
    # text of a value that looks like a key is rare; so are white space before a colon and unknown keys
    # every key has a colon, so a key given twice makes more of them than there are keys
    if text.count(b":") == count:
        return
    if text.count(b'":') != count or any(space in text for space in _SPACED):
        refuse_repeated_keys(text)


def refuse_repeated_keys(text: bytes) -> None:
    """Check JSON that a decoder has taken, with the last of several equal keys.

    Args:
        text: JSON.

    Raises:
        MalformedRequest: if an object has the same key twice (RFC 8259 leaves open which of the values counts).
        RequestTooLarge: ``too_many_parts``: if a check would take too much memory.
    """
    if len(text) > _MUCH:
        jsonscan.check_structure(text, len(text))

    def check(pairs: list[tuple[str, Any]]) -> None:
        keys = set()
        for key, _ in pairs:
            if key in keys:
                raise MalformedRequest(f"the key {key!r} is given twice in one object", code="duplicate_key")
            keys.add(key)

    try:
        # numbers are not looked at: one of thousands of digits would be refused, or cost much
        json.loads(text, object_pairs_hook=check, parse_int=str, parse_float=str)
    except RecursionError:
        raise MalformedRequest("the body is nested too deeply") from None
    except ValueError as error:
        # decoders skip the values of unknown keys without a close look
        raise MalformedRequest(f"the body is not JSON: {error}") from None


def not_json(text: bytes, message: str) -> MalformedRequest:
    """The error for a body that is not JSON, which names the rows and fields with ``NaN`` or ``Infinity``, if any.

    Python's ``json`` writes these although JSON has no such numbers (RFC 8259, section 6).

    Args:
        text: The body: of V1 with ``instances``, or of the Open Inference Protocol with ``inputs``.
        message: What to say where nothing of the kind is in it.
    """
    if b"NaN" not in text and b"Infinity" not in text:
        return MalformedRequest(message)
    try:
        parsed = json.loads(text, parse_constant=_CONSTANTS.__getitem__)
        # a body may have millions of them
        constants = list(islice(_constants(parsed, ()), _MOST_DETAILS + 1))
    except (ValueError, RecursionError):
        return MalformedRequest(message)
    if not constants:
        return MalformedRequest(message)
    violations = [Violation(*_place(parsed, path), constant.rule) for path, constant in constants[:_MOST_DETAILS]]
    first, more = violations[0], len(constants) - 1
    where = f"row {first.row}, field {first.field!r}" if first.row is not None else first.field or "the body"
    also = "" if not more else f" (and {more} more)" if more < _MOST_DETAILS else " (and many more)"
    details = [violation.as_dict() for violation in violations]
    return MalformedRequest(f"{where}: {first.rule}{also}", details=details)


class _Constant(str):
    """A number that JSON has not, by its name."""

    @property
    def rule(self) -> str:
        if self == "NaN":
            return "NaN is not JSON; send null where a value is missing"
        return f"{self} is not JSON; only binary tensor data can carry it"


_CONSTANTS: Final = {name: _Constant(name) for name in ("NaN", "Infinity", "-Infinity")}


class _Position(NamedTuple):
    row: int | None
    field: str


def _constants(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], _Constant]]:
    if isinstance(value, _Constant):
        yield path, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(inner, _Constant):
                yield (*path, key), inner
            elif isinstance(inner, dict | list):
                yield from _constants(inner, (*path, key))


def _place(parsed: Any, path: tuple[Any, ...]) -> _Position:
    """Row and field of a value, by the protocol of the body; the path itself for what is in neither."""
    match path:
        case ("instances", int(row), field, *_):
            return _Position(row, str(field))
        case ("inputs", int(index), "data", int(first), *rest):
            tensor = parsed["inputs"][index]
            # nested data has a row in each of its arrays, flat data is row-major
            width = 1 if rest else _row_size(tensor.get("shape"))
            name = tensor.get("name")
            return _Position(first // width if width else None, name if isinstance(name, str) else f"inputs.{index}")
    return _Position(None, ".".join(map(str, path)))


def _row_size(shape: Any) -> int:
    """How many values a row has; 0 where the shape is none, which nothing has looked at yet."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= MAX_DIMENSIONS:
        return 0
    if not all(type(size) is int and 0 <= size < _LONGEST_AXIS for size in shape):
        return 0
    return math.prod(shape[1:])
