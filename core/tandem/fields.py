"""Fields: the typed values of the deployment API, with the rules that each value obeys."""

from __future__ import annotations

import keyword
import math
import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np

from tandem.dtypes import (
    NUMPY_DTYPES,
    Column,
    FieldType,
    array_length,
    column_width,
    element_type,
    is_ragged,
    numpy_dtype,
    pad_ragged,
    parse_timestamp,
)
from tandem.errors import DefinitionError

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "float64": (float, int),
    "float32": (float, int),
    "int64": (int,),
    "bool": (bool,),
    "string": (str,),
    "timestamp": (str, datetime),
    "bytes": (str, bytes),
}

LARGEST: Final = {"float64": float(np.finfo(np.float64).max), "float32": float(np.finfo(np.float32).max)}
"""The largest number of each floating-point type."""

FINITE: Final = {"float64": "must be finite", "float32": "must be finite in 32 bits"}
"""The rule that every number of such a type obeys."""

_NUMBERS = ("float64", "float32", "int64")
_ARTICLES = {
    "float64": "a number",
    "float32": "a number",
    "int64": "a whole number",
    "bool": "true or false",
    "string": "a string",
    "timestamp": "an RFC 3339 timestamp",
    "bytes": "bytes in base64",
}
SIGNS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
"""How a rule about the range is written, by its name."""

HOLDS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt,
}  # fmt: skip
"""Whether such a rule holds of a value, or of each value of a column, and a bound."""

_JSON_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_JSON_TYPES: dict[str, dict[str, str]] = {
    "float64": {"type": "number"},
    "float32": {"type": "number"},
    "int64": {"type": "integer"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "timestamp": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
}

Value = bool | int | float | str | tuple[int | float, ...]
"""A field's value in Python and in JSON; timestamps are RFC 3339 strings, and bytes are base64."""


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One typed value of the deployment API.

    A field with a ``default`` may be left out by clients, and so may one marked ``optional``; without a default the
    latter must be a float, an array of a fixed number of floats, or ``timestamp``, whose NaN and NaT stand for *not
    given*.

    Attributes:
        type: One of :data:`FieldType`.
        ge: Least value allowed; with ``gt``, ``le``, ``lt`` only for numbers, and for each number of an array.
        gt: Lower bound that is itself not allowed.
        le: Greatest value allowed.
        lt: Upper bound that is itself not allowed.
        enum: The only values allowed; for ``string`` and ``int64``.
        default: Taken when a client leaves the field out or sends null.
        optional: May be left out without a default.
        unit: Unit in which the value is given, such as ``"s/km"``.
        description: Free text, in the API's documentation.
        max_bytes: Most bytes of a value, for ``bytes``; None for what a request can hold.

    Raises:
        DefinitionError: if these contradict each other.
    """

    type: FieldType
    ge: float | int | None = None
    gt: float | int | None = None
    le: float | int | None = None
    lt: float | int | None = None
    enum: tuple[str | int, ...] | None = None
    default: Value | None = None
    optional: bool = False
    unit: str = ""
    description: str = ""
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.type not in NUMPY_DTYPES and self.length is None:
            raise DefinitionError(
                f"unknown type {self.type!r}; known are {', '.join(NUMPY_DTYPES)}; for arrays of N numbers "
                f"{', '.join(f'{number}[N]' for number in _NUMBERS)}, and such as {_NUMBERS[-1]}[<=N] for at most N"
            )
        if isinstance(self.default, list):
            msgspec.structs.force_setattr(self, "default", tuple(self.default))
        self._check_bounds()
        if self.enum is not None:
            # lists read better in a model package; tuples keep the field hashable
            msgspec.structs.force_setattr(self, "enum", tuple(self.enum))
            self._check_enum(tuple(self.enum))
        self._check_default()

    def _check_bounds(self) -> None:
        if self.bounds and self.scalar not in _NUMBERS:
            raise DefinitionError(f"a {self.type} has no range; remove {', '.join(self.bounds)}")
        if self.max_bytes is not None and (
            self.type != "bytes" or not _has_type(self.max_bytes, "int64") or self.max_bytes < 1
        ):
            raise DefinitionError(f"max_bytes={self.max_bytes!r} of a {self.type}: it is a whole number, for bytes")
        for rule, bound in self.bounds.items():
            if not _has_type(bound, self.scalar) or not math.isfinite(bound):
                raise DefinitionError(f"{rule}={bound!r} is not a valid bound of a {self.type}")
        if {"ge", "gt"} <= self.bounds.keys() or {"le", "lt"} <= self.bounds.keys():
            raise DefinitionError("give one lower and one upper bound at most")

    def _check_enum(self, values: tuple[str | int, ...]) -> None:
        if self.type not in ("string", "int64"):
            raise DefinitionError(f"enum is for string and int64, not {self.type}")
        if not values:
            raise DefinitionError("enum must list at least one value")
        for value in values:
            if rule := self.broken_rule(value):
                raise DefinitionError(f"enum value {value!r} {rule}")

    def _check_default(self) -> None:
        if self.optional and self.default is None and not has_filler(self.type):
            example = ", such as []" if is_ragged(self.type) else ""
            raise DefinitionError(
                f"an optional {self.type} needs a default{example}: it has no value that stands for 'not given'"
            )
        if isinstance(self.default, datetime):
            raise DefinitionError("write a default timestamp in RFC 3339, as a string")
        if self.default is not None and (rule := self.broken_rule(self.default)):
            raise DefinitionError(f"default {self.default!r} {rule}")

    @property
    def bounds(self) -> dict[str, float | int]:
        """The range, by rule: ``{"ge": 0, "lt": 10}``."""
        rules = {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt}
        return {rule: bound for rule, bound in rules.items() if bound is not None}

    @property
    def required(self) -> bool:
        """Whether a client must send it."""
        return self.default is None and not self.optional

    @property
    def filler(self) -> Any:
        """What stands in the column where a client leaves the field out: the default, NaN or NaT."""
        return filler_of(self.type, self.default)

    def filling(self, rows: int) -> Column:
        """A column of the filler alone."""
        width = column_width(self.type)
        # as an array: of a mere text or bytes NumPy would drop zeros at the end
        filler = np.array(self.filler, self.dtype)
        return np.full((rows,) if width is None else (rows, width), filler, self.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the field's column, see :func:`numpy_dtype`."""
        return numpy_dtype(self.type)

    @property
    def length(self) -> int | None:
        """Numbers in an array, at most; None for a single value."""
        return array_length(self.type)

    @property
    def number(self) -> Field:
        """An array's numbers as fields of their own, with its range."""
        optional = self.optional and self.default is None
        return Field(self.scalar, ge=self.ge, gt=self.gt, le=self.le, lt=self.lt, optional=optional)

    @property
    def scalar(self) -> str:
        """The type itself, or that of an array's numbers."""
        return element_type(self.type)

    def broken_rule(self, value: Any) -> str | None:
        """The rule that one value breaks, as ``"must be >= 120"``; None if it breaks none."""
        if self.length is not None:
            return self._broken_by_array(value, self.length)
        if not _has_type(value, self.type):
            return f"must be {_ARTICLES[self.type]}"
        if self.type == "bytes":
            return _broken_by_bytes(value, self.max_bytes)
        # written so that NaN is refused too
        if self.type in LARGEST and not abs(value) <= LARGEST[self.type]:
            return FINITE[self.type]
        if self.type == "int64" and not -(2**63) <= value < 2**63:
            return "must fit into 64 bits"
        if self.type == "timestamp" and parse_timestamp(value) is None:
            return "must be an RFC 3339 timestamp with a time zone, such as 2026-05-01T08:00:00Z"
        if self.enum is not None and value not in self.enum:
            return f"must be one of {', '.join(map(str, self.enum))}"
        return next(
            (f"must be {SIGNS[rule]} {bound}" for rule, bound in self.bounds.items() if not HOLDS[rule](value, bound)),
            None,
        )

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the value."""
        schema: dict[str, Any] = dict(_JSON_TYPES[self.scalar])
        schema |= {_JSON_BOUNDS[rule]: bound for rule, bound in self.bounds.items()}
        if self.length is not None:
            least = {} if is_ragged(self.type) else {"minItems": self.length}
            schema = {"type": "array", "items": schema, **least, "maxItems": self.length}
        if self.max_bytes is not None:
            schema["maxLength"] = base64_length(self.max_bytes)
        if self.enum is not None:
            schema["enum"] = list(self.enum)
        if self.default is not None:
            schema["default"] = list(self.default) if isinstance(self.default, tuple) else self.default
        description = self.description + (f" [{self.unit}]" if self.unit else "")
        if description:
            schema["description"] = description.strip()
        return schema

    def _broken_by_array(self, values: Any, length: int) -> str | None:
        ragged = is_ragged(self.type)
        rule = f"must be a list of {'at most ' if ragged else ''}{length} numbers"
        if not isinstance(values, list | tuple):
            return rule
        if len(values) > length or (len(values) < length and not ragged):
            return f"{rule}, not {len(values)}"
        number = self.number
        rules = ((index, number.broken_rule(value)) for index, value in enumerate(values))
        return next((f"number {index} {rule}" for index, rule in rules if rule), None)


def has_filler(type_: FieldType) -> bool:
    """Whether a type has a value that stands for none: NaN, an array of NaN, NaT."""
    return numpy_dtype(type_).kind in "fM" and not is_ragged(type_)


def filler_of(type_: FieldType, default: Value | None) -> Any:
    """A default as an element of a column; without one NaN or NaT, else zero or empty."""
    if is_ragged(type_):
        return pad_ragged([default or ()], type_)[0]
    if default is None:
        scalar = element_type(type_)
        empty = {"string": "", "bytes": b"", "timestamp": np.datetime64("NaT", "us"), "int64": 0, "bool": 0}
        length = array_length(type_)
        return empty.get(scalar, np.nan) if length is None else (empty.get(scalar, np.nan),) * length
    if type_ == "bytes":
        return decode_base64(str(default))
    return parse_timestamp(str(default)) if type_ == "timestamp" else default


def decode_base64(text: str) -> bytes | None:
    """The bytes that a text stands for (RFC 4648, section 4, with padding); None if it is no base64."""
    try:
        return msgspec.convert(text, bytes)
    except msgspec.ValidationError:
        return None


def base64_length(size: int) -> int:
    """Characters of so many bytes in base64."""
    return (size + 2) // 3 * 4


def _broken_by_bytes(value: str | bytes, most: int | None) -> str | None:
    content = decode_base64(value) if isinstance(value, str) else value
    if content is None:
        return f"must be {_ARTICLES['bytes']}"
    return f"must have at most {most} bytes, not {len(content)}" if most is not None and len(content) > most else None


def check_name(name: str, what: str) -> None:
    """Refuse a name that could not be a parameter of a transform.

    Raises:
        DefinitionError: naming it.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise DefinitionError(f"{what} {name!r}: a name must be a Python identifier without leading underscore")
    if name in RESERVED_NAMES:
        raise DefinitionError(f"{what} {name!r}: the name is reserved")


RESERVED_NAMES = frozenset({"as_of", "degraded", "precomputed"})
"""``as_of`` is a column that every transform can ask for; ``degraded`` and ``precomputed`` are keys of answers."""


def as_field(field: Field | FieldType, name: str) -> Field:
    """A field from its short form, the bare type."""
    check_name(name, "field")
    try:
        return field if isinstance(field, Field) else Field(field)
    except DefinitionError as error:
        raise DefinitionError(f"field {name!r}: {error}") from None


def _has_type(value: Any, type_: str) -> bool:
    # bool is an int to Python, but not to a client
    return isinstance(value, _PYTHON_TYPES[type_]) and (type_ == "bool" or not isinstance(value, bool))
