"""What goes into a pipeline and what passes between its stages: inputs, features, tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from tandem.dtypes import Column, Columns
from tandem.errors import RequestError
from tandem.packed_rows import ViewColumns

Reason = Literal["missing", "stale", "null"]
"""Why a stored value was not used: the store has none, it is older than its view's ``max_age``, or it is null."""

Tensors = dict[str, NDArray[Any]]
"""Named tensors of one batch; the first axis is the rows."""


@dataclass(slots=True)
class Inputs:
    """All that a prediction depends on, for a batch of rows.

    Attributes:
        request: A column for each field of the contract.
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
        degraded: For each row with a stored value that was not used: the reason, by view; where a default stands for a
            null, by ``view.feature``. Usually empty.
        refused: For each row that cannot be answered: the error for the client.
    """

    columns: Columns
    degraded: dict[int, dict[str, Reason]] = field(default_factory=dict)
    refused: dict[int, RequestError] = field(default_factory=dict)
