"""What goes into a pipeline and what passes between its stages: inputs, features, tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from numpy.typing import NDArray

from tandem.dtypes import Column, Columns
from tandem.errors import RequestError
from tandem.packed_rows import ViewColumns

Reason = Literal["missing", "stale", "null", "unavailable", "unreadable"]
"""Why what the store has was not used: it has no row, the row is older than its view's ``max_age``, the value is null,
the store did not answer, or the row cannot be read."""

Source = Literal["default", "last_known", "simpler_model"]
"""What stands for it: the features' defaults, the row that the store had when it was last asked, or the prediction of
the bundle's simpler model, which reads nothing stored."""


class Degradation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why stored values of one row were not used, and what stands for them.

    Attributes:
        reason: One of :data:`Reason`.
        source: One of :data:`Source`.
        age_s: For a last known row, the seconds since the store was asked for it.
    """

    reason: Reason
    source: Source
    age_s: float | None = None

    def __str__(self) -> str:
        """``reason:source``, and the age in seconds where there is one, as the Open Inference Protocol has it."""
        age = "" if self.age_s is None else f":{self.age_s:.1f}"
        return f"{self.reason}:{self.source}{age}"


Tensors = dict[str, NDArray[Any]]
"""Named tensors of one batch; the first axis is the rows."""


@dataclass(slots=True)
class Inputs:
    """All that a prediction depends on, for a batch of rows.

    Attributes:
        request: A column for each field of the contract; of arrays as :func:`~tandem.dtypes.column_width` has it.
        views: Stored features, one entry for each of the model's views in its order.
        as_of: When each row's question is asked: ``datetime64[us]``, shape ``(rows,)``.
    """

    request: Columns
    views: tuple[ViewColumns, ...]
    as_of: Column

    def __len__(self) -> int:
        return len(self.as_of)

    def take(self, rows: Any) -> Inputs:
        """The given rows: an index array, a mask or a slice."""
        request = {name: column[rows] for name, column in self.request.items()}
        return Inputs(request, tuple(view.take(rows) for view in self.views), self.as_of[rows])


@dataclass(slots=True)
class Features:
    """Columns with features looked up, filled in and computed.

    Attributes:
        columns: Request fields, features, on-demand features, ``as_of``.
        degraded: For each row with a stored value that was not used: why, and what stands for it, by view; where a
            default stands for a null, by ``view.feature``. Usually empty.
        refused: For each row that the model cannot answer: the error for the client.
        simpler: Those of the refused rows that the bundle's simpler model answers: the reason, by view.
    """

    columns: Columns
    degraded: dict[int, dict[str, Degradation]] = field(default_factory=dict)
    refused: dict[int, RequestError] = field(default_factory=dict)
    simpler: dict[int, dict[str, Degradation]] = field(default_factory=dict)

    @property
    def unanswerable(self) -> dict[int, RequestError]:
        """For each row that no model answers: the error for the client."""
        return {row: error for row, error in self.refused.items() if row not in self.simpler}

    def forget(self, rows: Sequence[int]) -> None:
        """Drop what is known of rows that are answered in another way than from these features."""
        for row in rows:
            self.degraded.pop(row, None)
            self.refused.pop(row, None)
            self.simpler.pop(row, None)
