"""What a feature view declares about its windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from tandem.dtypes import FieldType
from tandem.durations import microseconds
from tandem.errors import DefinitionError
from tandem.fields import check_name

MAX_WINDOWS_PER_EVENT: Final = 1440
"""Most hopping windows that one event counts in: a day by the minute."""


class Window(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which events count together: those of one entity within a span of event time.

    Durations are written as ``"90s"``, ``"5m"`` or ``"1d"``. Windows of a fixed size begin at multiples of ``hop``, or
    else of ``size``, since 1970-01-01T00:00Z. They have their beginning in them, and not their end.

    Attributes:
        event_time: Column of the events with the time at which each happened.
        grace: How long a window stays open for events that arrive late, in event time.
        size: Length of a window; alone, windows follow one another without overlap.
        hop: Time from the beginning of one window to that of the next, if they overlap; at most ``size``.
        gap: In place of a size: time without events that ends a window. The window ends a gap after its last event.
    """

    event_time: str
    grace: str
    size: str | None = None
    hop: str | None = None
    gap: str | None = None

    def __post_init__(self) -> None:
        check_name(self.event_time, "window: event_time")
        for field in ("grace", "size", "hop", "gap"):
            _check_duration(field, getattr(self, field))
        if (self.size is None) == (self.gap is None):
            raise DefinitionError("window: needs either size or gap")
        if self.hop is not None and self.size is None:
            raise DefinitionError("window: hop is for windows with a size; remove it")
        if self.hop_us > self.size_us:
            raise DefinitionError(f"window: hop {self.hop!r} must be at most size {self.size!r}")
        if self.windows_per_event > MAX_WINDOWS_PER_EVENT:
            raise DefinitionError(
                f"window: hop {self.hop!r} puts an event into {self.windows_per_event} windows of size {self.size!r}; "
                f"there may be at most {MAX_WINDOWS_PER_EVENT}"
            )

    @property
    def grace_us(self) -> int:
        """The grace in microseconds."""
        return microseconds(self.grace)

    @property
    def gap_us(self) -> int | None:
        """The gap in microseconds; None for windows of a fixed size."""
        return None if self.gap is None else microseconds(self.gap)

    @property
    def size_us(self) -> int:
        """The size in microseconds; 0 for windows that end by a gap."""
        return 0 if self.size is None else microseconds(self.size)

    @property
    def hop_us(self) -> int:
        """Microseconds from one beginning to the next; 0 for windows that end by a gap."""
        return self.size_us if self.hop is None else microseconds(self.hop)

    @property
    def windows_per_event(self) -> int:
        """Windows in which an event counts, at most."""
        return 1 if self.gap is not None else -(-self.size_us // self.hop_us)


def _check_duration(field: str, text: str | None) -> None:
    if text is None:
        return
    try:
        duration = microseconds(text)
    except DefinitionError as error:
        raise DefinitionError(f"window: {field} {error}") from None
    if duration == 0 and field != "grace":
        raise DefinitionError(f"window: {field} {text!r} must be longer than nothing")


StatisticKind = Literal["count", "sum", "mean", "min", "max", "variance", "last", "distinct"]
"""What is computed of the values of a column that are not null: their number, their sum, their mean, the least and the
greatest of them, their sample variance (of one value it is null), the value of the latest event, or about how many
different ones there are."""

_SCALARS = ("float64", "int64", "bool", "string", "timestamp")
_TYPES: Mapping[str, tuple[str, ...]] = {
    "count": _SCALARS,
    "sum": ("float64", "int64"),
    "mean": ("float64", "int64"),
    "min": ("float64", "int64", "timestamp"),
    "max": ("float64", "int64", "timestamp"),
    "variance": ("float64", "int64"),
    "last": _SCALARS,
    "distinct": ("string", "int64", "bool", "timestamp"),
}
_RESULTS: Mapping[str, FieldType] = {
    "count": "int64", "distinct": "int64", "mean": "float64", "variance": "float64",
}  # fmt: skip


class Statistic(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a feature says about the events of a window.

    Attributes:
        kind: One of :data:`StatisticKind`.
        column: Column of the events; only ``count`` goes without one, and then counts events.
        type: Type of this column.
    """

    kind: StatisticKind
    column: str | None = None
    type: FieldType = "float64"

    def __post_init__(self) -> None:
        if self.kind not in get_args(StatisticKind):
            kinds = ", ".join(get_args(StatisticKind))
            raise DefinitionError(f"statistic {self.kind!r}: kind is one of {kinds}")
        if self.column is not None:
            check_name(self.column, f"statistic {self.kind!r}: column")
        elif self.kind != "count":
            raise DefinitionError(f"statistic {self.kind!r}: needs a column")
        if self.type not in _TYPES[self.kind]:
            allowed = ", ".join(_TYPES[self.kind])
            raise DefinitionError(f"statistic {self.kind!r}: type is {self.type!r}; it is one of {allowed}")

    @property
    def result(self) -> FieldType:
        """Type of the feature."""
        return _RESULTS.get(self.kind, self.type)

    @property
    def nullable(self) -> bool:
        """Whether a window may have none, such as the greatest of values that are all null."""
        return self.kind not in ("count", "distinct")
