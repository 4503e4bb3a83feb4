"""Which parts the windows of a feature view keep, and the view's features from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np

from tandem.dtypes import Column, Columns, FieldType, numpy_dtype
from tandem.errors import DefinitionError
from tandem.features import FeatureView
from tandem.fields import filler_of
from tandem.windows.definition import Statistic, StatisticKind, Window
from tandem.windows.exact_sums import ExactSum, exact_mean, exact_total, exact_variance
from tandem.windows.parts import PARTS, PartKind
from tandem.windows.sketches import estimate_distinct

Parts = tuple[Any, ...]
"""The parts of one window, in the order of its layout; None where all values are null."""


@dataclass(frozen=True, slots=True)
class Events:
    """Events in the order of their arrival, as columns of equal length.

    Attributes:
        entities: The entity of each event, as :func:`tandem.store_keys.entities` writes it.
        times: When each happened: ``datetime64[us]``, without NaT.
        columns: A column for each column of the view's statistics; numbers are finite, or NaN for a null.
        nulls: Where columns are null: ``bool``, by column; left out if nothing is.
    """

    entities: Sequence[bytes]
    times: Column
    columns: Columns
    nulls: Mapping[str, Column]


@dataclass(frozen=True, slots=True)
class _Values:
    """Values of a column that are not null, with their event times, group by group."""

    values: list[Any]
    times: list[int]
    bounds: list[int]

    def parts(self, kind: PartKind) -> list[Any]:
        """A part for each group; None for a group without values."""
        of = PARTS[kind].of
        return [
            of(self.values[first:end], self.times[first:end]) if end > first else None
            for first, end in pairwise(self.bounds)
        ]


class WindowLayout:
    """The parts of a view's windows.

    Args:
        view: A view with a window.

    Attributes:
        view: The view.
        window: Its window.
        columns: Columns of the events that are read, with their types.
        parts: Kind and column of each part, without a column for the number of events.

    Raises:
        DefinitionError: if the view has no window.
    """

    def __init__(self, view: FeatureView) -> None:
        if view.window is None:
            raise DefinitionError(f"feature view {view.name!r}: has no window")
        self.view = view
        self.window: Window = view.window
        self._statistics = [feature.statistic for feature in view.features if feature.statistic is not None]
        self.columns: dict[str, FieldType] = {
            statistic.column: statistic.type for statistic in self._statistics if statistic.column is not None
        }
        needs = ((kind, item.column) for item in self._statistics for kind in _NEEDS[item.kind])
        self.parts: tuple[tuple[PartKind, str | None], ...] = tuple(dict.fromkeys(needs))
        self._merges = [PARTS[kind].merge for kind, _ in self.parts]

    def summarize(self, events: Events, rows: Column, bounds: Sequence[int]) -> list[Parts]:
        """The parts of groups of events.

        Args:
            events: The events.
            rows: Indices of events, group by group.
            bounds: Where each group begins in ``rows``, and where the last one ends.
        """
        values = {column: self._values(events, column, rows, bounds) for column in {name for _, name in self.parts}}
        columns = [values[column].parts(kind) for kind, column in self.parts]
        return list(zip(*columns, strict=True))

    def merge(self, left: Parts, right: Parts) -> Parts:
        """The parts of two windows' events together."""
        return tuple(
            first if second is None else second if first is None else merge(first, second)
            for merge, first, second in zip(self._merges, left, right, strict=True)
        )

    def encode(self, parts: Parts) -> list[Any]:
        """Their form in MessagePack."""
        pairs = zip(self.parts, parts, strict=True)
        return [None if part is None else PARTS[kind].encode(part) for (kind, _), part in pairs]

    def decode(self, forms: Sequence[Any]) -> Parts:
        """The parts that :meth:`encode` has written."""
        pairs = zip(self.parts, forms, strict=True)
        return tuple(None if form is None else PARTS[kind].decode(form) for (kind, _), form in pairs)

    def features(self, windows: Sequence[Parts]) -> tuple[Columns, dict[str, Column]]:
        """The view's features in some windows.

        Returns:
            A column for each feature, with any value of its type where it is null; and for each feature with nulls,
            where they are: ``bool``.
        """
        columns: Columns = {}
        nulls: dict[str, Column] = {}
        for feature, statistic in zip(self.view.features, self._statistics, strict=True):
            values = self._results(statistic, windows)
            null = np.array([value is None for value in values], bool)
            filler = filler_of(feature.type, None)
            columns[feature.name] = _column([filler if value is None else value for value in values], feature.type)
            if null.any():
                nulls[feature.name] = null
        return columns, nulls

    def _results(self, statistic: Statistic, windows: Sequence[Parts]) -> list[Any]:
        places = [self.parts.index((kind, statistic.column)) for kind in _NEEDS[statistic.kind]]
        empty = None if statistic.nullable else 0
        compute = _int64_total if (statistic.kind, statistic.type) == ("sum", "int64") else _COMPUTES[statistic.kind]
        return [
            empty if parts[places[0]] is None else compute(*(parts[place] for place in places)) for parts in windows
        ]

    def _values(self, events: Events, name: str | None, rows: Column, bounds: Sequence[int]) -> _Values:
        column = events.times if name is None else events.columns[name]
        null = None if name is None else _nulls(name, column, events.nulls.get(name))
        if null is not None:
            present = np.flatnonzero(~null[rows])
            bounds = np.searchsorted(present, bounds).tolist()
            rows = rows[present]
        return _Values(_plain(column[rows]), events.times[rows].astype(np.int64).tolist(), list(bounds))


_NEEDS: Final[Mapping[StatisticKind, tuple[PartKind, ...]]] = {
    "count": ("count",),
    "sum": ("sum",),
    "mean": ("sum", "count"),
    "min": ("min",),
    "max": ("max",),
    "variance": ("sum", "squares", "count"),
    "last": ("last",),
    "distinct": ("distinct",),
}


def _int64_total(total: ExactSum) -> int | None:
    return total[0] if -(2**63) <= total[0] < 2**63 else None


_COMPUTES: Final[Mapping[StatisticKind, Callable[..., Any]]] = {
    "count": lambda count: count,
    "sum": exact_total,
    "mean": exact_mean,
    "min": lambda least: least,
    "max": lambda greatest: greatest,
    "variance": exact_variance,
    "last": lambda latest: latest[1],
    "distinct": estimate_distinct,
}


def _nulls(name: str, column: Column, null: Column | None) -> Column | None:
    """Where a column is null, or NaN; None if nothing is."""
    if column.dtype.kind == "f":
        if np.isinf(column).any():
            raise ValueError(f"column {name!r} is infinite; values must be finite")
        nan = np.isnan(column)
        null = nan if null is None else nan | null
    return null if null is not None and null.any() else None


def _plain(column: Column) -> list[Any]:
    """Values as Python has them, of which equal ones are the same: there is no negative zero, and texts are UTF-8."""
    if column.dtype.kind == "f":
        column = column + 0.0
    elif column.dtype.kind == "M":
        column = column.astype(np.int64)
    values: list[Any] = column.tolist()
    if column.dtype.kind == "O":
        values = [text if text.isascii() else text.encode(errors="replace").decode() for text in values]
    return values


def _column(values: list[Any], type_: FieldType) -> Column:
    if type_ == "timestamp":
        return np.array(values, "datetime64[us]")
    column: Column = np.empty(len(values), numpy_dtype(type_))
    column[:] = values
    return column
