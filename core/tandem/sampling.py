"""Random requests and features that obey a model's declaration, for `tandem check` and for tests."""

from __future__ import annotations

import math
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from tandem.dtypes import Column, array_length, is_ragged, numpy_dtype, pad_ragged
from tandem.durations import microseconds
from tandem.features import Feature, FeatureView
from tandem.fields import Field
from tandem.inputs import Inputs
from tandem.model import Model
from tandem.packed_rows import ViewColumns
from tandem.rows import RowReader

NOW = datetime(2026, 5, 1, 8, tzinfo=UTC)
"""Random timestamps lie in the month before."""

LEFT_OUT = 0.25
"""Share of rows in which a field that may be left out is left out, or null."""

_MOST_RANDOM_BYTES = 256
_MONTH_US = 30 * 86_400 * 1_000_000


def random_rows(model: Model, n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of a request that obeys the contract, as JSON has them: values over the whole range, fields left out.

    Args:
        model: The model.
        n: How many rows.
        rng: Source of randomness.
    """
    return [_random_row(model.contract.inputs, rng) for _ in range(n)]


def random_inputs(
    model: Model, n: int, rng: np.random.Generator, *, missing: float = 0.1, stale: float = 0.1, null: float = 0.1
) -> Inputs:
    """Inputs of a batch: random rows with random features for each.

    Args:
        model: The model.
        n: How many rows, at least one.
        rng: Source of randomness.
        missing: Share of rows that a view does not know.
        stale: Share of rows with values older than the view's ``max_age``, where it has one.
        null: Share of null values among features that may be null.
    """
    reader = RowReader(model.contract)
    rows = msgspec.convert(random_rows(model, n, rng), list[reader.row_type])  # type: ignore[name-defined]
    request = reader.columns(rows)
    as_of = reader.as_of(request, np.datetime64(NOW.replace(tzinfo=None), "us"))
    return Inputs(request, random_views(model, as_of, rng, missing=missing, stale=stale, null=null), as_of)


def random_views(
    model: Model,
    as_of: Column,
    rng: np.random.Generator,
    *,
    missing: float = 0.1,
    stale: float = 0.1,
    null: float = 0.1,
) -> tuple[ViewColumns, ...]:
    """Random features of each of a model's views.

    Args:
        model: The model.
        as_of: The time of each row: ``datetime64[us]``.
        rng: Source of randomness.
        missing: As in :func:`random_inputs`, like the others.
        stale: As there.
        null: As there.
    """
    return tuple(_random_view(use.view, as_of, rng, missing, stale, null) for use in model.views)


def _random_row(fields: dict[str, Field], rng: np.random.Generator) -> dict[str, Any]:
    row = {}
    for name, field in fields.items():
        if field.required or rng.random() >= LEFT_OUT:
            row[name] = _random_value(name, field, rng)
        # a null must mean the same as a field that is left out
        elif rng.random() < 0.5:
            row[name] = None
    return row


def _random_value(name: str, field: Field, rng: np.random.Generator) -> Any:
    if field.enum is not None:
        return field.enum[int(rng.integers(len(field.enum)))]
    if field.length is not None:
        length = int(rng.integers(field.length + 1)) if is_ragged(field.type) else field.length
        return [_random_value(name, field.number, rng) for _ in range(length)]
    match field.type:
        case "float64" | "float32":
            return _random_float(field, rng)
        case "int64":
            return _random_int(field, rng)
        case "bool":
            return bool(rng.random() < 0.5)
        case "string":
            return f"{name}-{int(rng.integers(1000))}"
        case "timestamp":
            return (NOW - timedelta(microseconds=int(rng.integers(_MONTH_US)))).isoformat()
        case "bytes":
            # most bytes are no file of any format: the default is one that transforms can read
            random = rng.bytes(int(rng.integers(1 + min(field.max_bytes or _MOST_RANDOM_BYTES, _MOST_RANDOM_BYTES))))
            return field.default if field.default is not None else b64encode(random).decode()


def _random_float(field: Field, rng: np.random.Generator) -> float:
    lower, upper = _range(field)
    # sometimes the edge itself, where faults are likely
    share = rng.choice([0.0, 1.0]) if rng.random() < 0.05 else rng.random()
    value = lower + (upper - lower) * share
    if field.gt is not None:
        value = max(value, math.nextafter(field.gt, math.inf))
    if field.lt is not None:
        value = min(value, math.nextafter(field.lt, -math.inf))
    return float(min(max(value, lower), upper))


def _random_int(field: Field, rng: np.random.Generator) -> int:
    lower, upper = _range(field)
    lowest = int(lower) + (field.gt is not None)
    highest = int(upper) - (field.lt is not None)
    return int(rng.integers(lowest, highest, endpoint=True))


def _range(field: Field) -> tuple[float | int, float | int]:
    """Both ends of a field's range; where there is none, one as far away as the other is from zero, and a hundred."""
    lower = field.gt if field.ge is None else field.ge
    upper = field.lt if field.le is None else field.le
    if lower is None and upper is None:
        return -100, 100
    if lower is None:
        return upper - abs(upper) - 100, upper  # type: ignore[operator, return-value, arg-type]
    return lower, lower + abs(lower) + 100 if upper is None else upper


def _random_view(
    view: FeatureView, as_of: Column, rng: np.random.Generator, missing: float, stale: float, null: float
) -> ViewColumns:
    rows = len(as_of)
    limit = microseconds(view.max_age or "1d")
    age = rng.integers(0, limit, rows)
    if view.max_age is not None:
        old = rng.random(rows) < stale
        age = np.where(old, limit + 1 + age, age)
    event_time = as_of - age.astype("timedelta64[us]")
    event_time[rng.random(rows) < missing] = np.datetime64("NaT")
    columns = {feature.name: _random_column(feature, rows, rng) for feature in view.features}
    nulls = {}
    for feature in view.features:
        mask = (rng.random(rows) < null) & ~np.isnat(event_time)
        if feature.nullable and mask.any():
            nulls[feature.name] = mask
    return ViewColumns(columns, event_time, nulls)


def _random_column(feature: Feature, rows: int, rng: np.random.Generator) -> Column:
    default: Any = feature.default
    dtype = numpy_dtype(feature.type)
    if (length := array_length(feature.type)) is not None:
        numbers = rng.normal(size=(rows, length)) if dtype.kind == "f" else rng.integers(0, 10, (rows, length))
        if is_ragged(feature.type):
            return pad_ragged([row[: rng.integers(length + 1)] for row in numbers], feature.type)
        return numbers.astype(dtype)
    match feature.type:
        case "float64" | "float32":
            center = 1.0 if default is None else float(default)
            # spread around the default, on its side of zero
            return ((center or 1.0) * rng.uniform(0.2, 1.8, rows)).astype(dtype)
        case "int64":
            center = abs(int(default or 0))
            return rng.integers(0, 2 * center + 10, rows)
        case "bool":
            return rng.random(rows) < 0.5
        case "string":
            texts = [*([default] if default is not None else []), *(f"{feature.name}-{index}" for index in range(5))]
            return np.array([texts[index] for index in rng.integers(len(texts), size=rows)], dtype)
        case _:
            now = np.datetime64(NOW.replace(tzinfo=None), "us")
            return now - rng.integers(0, _MONTH_US, rows).astype("timedelta64[us]")
