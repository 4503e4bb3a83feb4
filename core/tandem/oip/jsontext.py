"""What JSON decoders let pass or do not explain: keys given twice, and numbers that Python writes and JSON lacks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tandem.errors import MalformedRequest, Violation

_MOST_DETAILS: Final = 100
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
    if text.count(b'":') != count or any(space in text for space in _SPACED):
        refuse_repeated_keys(text)


def refuse_repeated_keys(text: bytes) -> None:
    """Check JSON that a decoder has taken, with the last of several equal keys.

    Args:
        text: JSON.

    Raises:
        MalformedRequest: if an object has the same key twice (RFC 8259 leaves open which of the values counts).
    """

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
    try:
        parsed = json.loads(text, parse_constant=_Constant, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return MalformedRequest(message)
    violations = [Violation(*_place(parsed, path), constant.rule) for path, constant in _constants(parsed, ())]
    if not violations:
        return MalformedRequest(message)
    first, more = violations[0], len(violations) - 1
    where = f"row {first.row}, field {first.field!r}" if first.row is not None else first.field
    also = f" (and {more} more)" if more else ""
    details = [violation.as_dict() for violation in violations[:_MOST_DETAILS]]
    return MalformedRequest(f"{where}: {first.rule}{also}", details=details)


class _Constant(str):
    """A number that JSON has not, by its name."""

    @property
    def rule(self) -> str:
        if self == "NaN":
            return "NaN is not JSON; send null where a value is missing"
        return f"{self} is not JSON; only binary tensor data can carry it"


class _Place(NamedTuple):
    row: int | None
    field: str


def _constants(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], _Constant]]:
    if isinstance(value, _Constant):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _constants(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _constants(inner, (*path, index))


def _place(parsed: Any, path: tuple[Any, ...]) -> _Place:
    """Row and field of a value, by the protocol of the body; the path itself for what is in neither."""
    match path:
        case ("instances", int(row), field, *_):
            return _Place(row, str(field))
        case ("inputs", int(index), "data", int(first), *rest):
            tensor = parsed["inputs"][index]
            shape = tensor.get("shape")
            # flat data is row-major
            sizes = [int(size) for size in shape[1:]] if isinstance(shape, list) and not rest else []
            width = 1
            for size in sizes:
                width *= max(size, 1)
            return _Place(first // width, str(tensor.get("name")))
    return _Place(None, ".".join(map(str, path)))
