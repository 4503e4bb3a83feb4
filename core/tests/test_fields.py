from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from tandem import DefinitionError, Field
from tandem.fields import check_name


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        ({"type": "float"}, "unknown type 'float'"),
        ({"type": "string", "ge": 1}, "a string has no range; remove ge"),
        ({"type": "bool", "lt": 1}, "a bool has no range"),
        ({"type": "float64", "ge": "1"}, "ge='1' is not a valid bound of a float64"),
        ({"type": "int64", "le": 1.5}, "le=1.5 is not a valid bound of a int64"),
        ({"type": "float64", "ge": float("inf")}, "ge=inf is not a valid bound"),
        ({"type": "float64", "ge": float("nan")}, "ge=nan is not a valid bound"),
        ({"type": "float64", "ge": 1, "gt": 0}, "one lower and one upper bound"),
        ({"type": "int64", "le": 1, "lt": 0}, "one lower and one upper bound"),
        ({"type": "float64", "enum": (1.0,)}, "enum is for string and int64"),
        ({"type": "string", "enum": ()}, "enum must list"),
        ({"type": "string", "enum": (1,)}, "enum value 1 must be a string"),
        ({"type": "int64", "enum": (1, True)}, "enum value True must be a whole number"),
        ({"type": "int64", "enum": (2**64,)}, "must fit into 64 bits"),
        ({"type": "string", "optional": True}, "needs a default"),
        ({"type": "bool", "optional": True}, "needs a default"),
        ({"type": "float64", "default": "1"}, "default '1' must be a number"),
        ({"type": "float64", "default": True}, "default True must be a number"),
        ({"type": "float64", "default": float("nan")}, "must be finite"),
        ({"type": "float64", "default": -1, "ge": 0}, "default -1 must be >= 0"),
        ({"type": "string", "default": "c", "enum": ("a", "b")}, "must be one of a, b"),
        ({"type": "timestamp", "default": "2026-05-01"}, "RFC 3339"),
        ({"type": "timestamp", "default": datetime(2026, 5, 1, tzinfo=UTC)}, "as a string"),
    ],
)
def test_contradiction_is_refused(definition: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(reason)):
        Field(**definition)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        (Field("float64", ge=1), 1, None),
        (Field("float64", gt=1), 1, "must be > 1"),
        (Field("float64", le=1), 1.1, "must be <= 1"),
        (Field("float64", lt=1), 1, "must be < 1"),
        (Field("float64"), float("inf"), "must be finite"),
        (Field("float64"), 10**400, "must be finite"),
        (Field("float64"), True, "must be a number"),
        (Field("int64"), 1.0, "must be a whole number"),
        (Field("int64"), 2**63, "must fit into 64 bits"),
        (Field("int64"), -(2**63), None),
        (Field("int64", enum=(1, 2)), 3, "must be one of 1, 2"),
        (Field("bool"), 1, "must be true or false"),
        (Field("string"), 1, "must be a string"),
        (Field("string", enum=["a"]), "a", None),
        (Field("timestamp"), "2026-05-01T08:00:00Z", None),
        (Field("timestamp"), "2026-05-01T08:00:00+05:30", None),
        (Field("timestamp"), datetime(2026, 5, 1, tzinfo=UTC), None),
        (Field("timestamp"), datetime(2026, 5, 1), "must be an RFC 3339 timestamp with a time zone"),
        (Field("timestamp"), "2026-05-01T08:00:00", "must be an RFC 3339 timestamp with a time zone"),
        (Field("timestamp"), 5, "must be an RFC 3339 timestamp"),
    ],
)
def test_broken_rule(field: Field, value: Any, rule: str | None) -> None:
    violation = field.broken_rule(value)
    assert violation is None if rule is None else violation is not None and violation.startswith(rule)


def test_filler_of_what_clients_leave_out() -> None:
    assert np.isnan(Field("float64", optional=True).filler)
    assert np.isnat(Field("timestamp", optional=True).filler)
    assert Field("float64", default=2).filler == 2
    assert Field("timestamp", default="2026-05-01T10:00:00+02:00").filler == np.datetime64("2026-05-01T08:00:00")


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "class", "_a", "as_of", "degraded", "a.b"])
def test_name_that_no_transform_could_have_as_parameter(name: str) -> None:
    with pytest.raises(DefinitionError, match=re.escape(repr(name))):
        check_name(name, "field")
