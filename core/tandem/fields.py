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

from tandem.dtypes import NUMPY_DTYPES, Column, FieldType, array_length, numpy_dtype, parse_timestamp
from tandem.errors import DefinitionError

_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "float64": (float, int),
    "int64": (int,),
    "bool": (bool,),
    "string": (str,),
    "timestamp": (str, datetime),
}

_LARGEST_FLOAT = float(np.finfo(np.float64).max)
_ARTICLES = {
    "float64": "a number",
    "int64": "a whole number",
    "bool": "true or false",
    "string": "a string",
    "timestamp": "an RFC 3339 timestamp",
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
    "int64": {"type": "integer"},
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "timestamp": {"type": "string", "format": "date-time"},
}

Value = bool | int | float | str | tuple[float, ...]
"""A field's value in Python and in JSON; timestamps are RFC 3339 strings."""


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """One typed value of the deployment API.

    A field with a ``default`` may be left out by clients, and so may one marked ``optional``; without a default the
    latter must be ``float64``, an array or ``timestamp``, whose NaN and NaT stand for *not given*.

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

    def __post_init__(self) -> None:
        if self.type not in NUMPY_DTYPES and self.length is None:
            raise DefinitionError(
                f"unknown type {self.type!r}; known are {', '.join(NUMPY_DTYPES)}, and float64[N] for arrays of N "
                "numbers"
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
        if self.bounds and self.scalar not in ("float64", "int64"):
            raise DefinitionError(f"a {self.type} has no range; remove {', '.join(self.bounds)}")
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
        if self.optional and self.default is None and self.scalar not in ("float64", "timestamp"):
            raise DefinitionError(
                f"an optional {self.type} needs a default: it has no value that stands for 'not given'"
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
        if self.default is None:
            filler: Any = np.nan if self.scalar == "float64" else np.datetime64("NaT", "us")
            return filler if self.length is None else (filler,) * self.length
        return parse_timestamp(str(self.default)) if self.type == "timestamp" else self.default

    def filling(self, rows: int) -> Column:
        """A column of the filler alone."""
        return np.full((rows,) if self.length is None else (rows, self.length), self.filler, self.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the field's column, see :func:`numpy_dtype`."""
        return numpy_dtype(self.type)

    @property
    def length(self) -> int | None:
        """Numbers in an array; None for a single value."""
        return array_length(self.type)

    @property
    def number(self) -> Field:
        """An array's numbers as fields of their own, with its range."""
        optional = self.optional and self.default is None
        return Field("float64", ge=self.ge, gt=self.gt, le=self.le, lt=self.lt, optional=optional)

    @property
    def scalar(self) -> str:
        """The type itself, or that of an array's numbers."""
        return self.type.partition("[")[0]

    def broken_rule(self, value: Any) -> str | None:
        """The rule that one value breaks, as ``"must be >= 120"``; None if it breaks none."""
        if self.length is not None:
            return self._broken_by_array(value, self.length)
        if not _has_type(value, self.type):
            return f"must be {_ARTICLES[self.type]}"
        # written so that NaN is refused too
        if self.type == "float64" and not abs(value) <= _LARGEST_FLOAT:
            return "must be finite"
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
            schema = {"type": "array", "items": schema, "minItems": self.length, "maxItems": self.length}
        if self.enum is not None:
            schema["enum"] = list(self.enum)
        if self.default is not None:
            schema["default"] = list(self.default) if isinstance(self.default, tuple) else self.default
        description = self.description + (f" [{self.unit}]" if self.unit else "")
        if description:
            schema["description"] = description.strip()
        return schema

    def _broken_by_array(self, values: Any, length: int) -> str | None:
        if not isinstance(values, list | tuple) or len(values) != length:
            return f"must be a list of {length} numbers"
        rules = ((index, self.number.broken_rule(value)) for index, value in enumerate(values))
        return next((f"number {index} {rule}" for index, rule in rules if rule), None)


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
