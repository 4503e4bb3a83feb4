"""Predictions computed ahead: rows of the online store that answer in place of the model while they are fresh.

A row has the layout of :mod:`tandem.packed_rows`, with the fields of the answer as its values and the time that the
prediction is about as its event time. Its key is ``precomputed:NAME-DIGEST8:`` and a hash of the bundle's digest, its
signature and all request values but the time of the question; the row itself has the whole digest again. So it never
answers for another model, version or contract, nor for a request with other values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tandem.answer_parts import Rows
from tandem.bundle import Bundle
from tandem.dtypes import Column, Columns
from tandem.durations import parse_duration
from tandem.errors import DefinitionError, UnreadableRows
from tandem.features import Feature, FeatureView
from tandem.packed_rows import RowLayout, ViewColumns

_HASH_BYTES: Final = 16
_DIGEST: Final = "bundle"
_ANSWER: Final = "answer_"
"""Before the names of answers, so that none is that of the digest."""


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows of a batch that are answered by predictions computed ahead.

    Attributes:
        rows: Their indices.
        columns: A column for each field of the answers, for these rows.
        age_s: Seconds from the time that each prediction is about to the time of the question: ``float64``.
    """

    rows: Rows
    columns: Columns
    age_s: Column


class PrecomputedPredictions:
    """Writes and reads predictions of one bundle that are computed ahead.

    Args:
        bundle: The bundle.

    Raises:
        DefinitionError: if its model declares no ``precomputed``.
    """

    def __init__(self, bundle: Bundle) -> None:
        contract = bundle.contract
        if bundle.model.precomputed is None:
            raise DefinitionError(
                f'model {bundle.name!r} takes no predictions computed ahead; declare precomputed="1h"'
            )
        self._max_age = parse_duration(bundle.model.precomputed)
        self._fields = [name for name in contract.inputs if name != contract.as_of]
        self._answers = {_ANSWER + name: name for name in contract.answers}
        answers = [Feature(_ANSWER + name, field.type) for name, field in contract.answers.items()]
        features = (Feature(_DIGEST, "string"), *answers)
        self._layout = RowLayout(FeatureView("predictions", keys=("request",), features=features))
        self._digest = bundle.digest
        self._identity = hashlib.sha256(f"{bundle.digest} {bundle.signature.hash}".encode()).digest()
        self._prefix = f"precomputed:{bundle.wire_name}:".encode()

    def keys(self, request: Columns) -> list[bytes]:
        """Store keys of the predictions for some rows.

        Args:
            request: A column for each field of the contract.
        """
        rows = zip(*(_texts(request[name]) for name in self._fields), strict=True)
        return [
            self._prefix + hashlib.blake2b(b"".join(row), digest_size=_HASH_BYTES, key=self._identity).digest()
            for row in rows
        ]

    def pack(self, answers: Columns, as_of: Column) -> list[bytes]:
        """Rows to be stored.

        Args:
            answers: A column for each field of the answers.
            as_of: The time that each prediction is about: ``datetime64[us]``.
        """
        columns: Columns = {own: answers[name] for own, name in self._answers.items()}
        columns[_DIGEST] = np.full(len(as_of), self._digest, object)
        return self._layout.pack(columns, as_of)

    def useful_s(self, as_of: Column, now: np.datetime64) -> float:
        """Seconds for which predictions can answer questions of the present; then all of them are too old.

        Args:
            as_of: The time that each prediction is about: ``datetime64[us]``; at least one.
            now: The time.
        """
        ahead = max(as_of.max() - now, np.timedelta64(0, "us"))
        return float((ahead + self._max_age) / np.timedelta64(1, "s"))

    def unpack(self, rows: Sequence[bytes | None]) -> ViewColumns:
        """Columns of stored rows; those that cannot be read are as if there were none."""
        try:
            return self._layout.unpack(rows)
        except UnreadableRows as error:
            unreadable = set(error.rows)
            return self._layout.unpack([None if at in unreadable else row for at, row in enumerate(rows)])

    def select(self, stored: ViewColumns, as_of: Column) -> Hits | None:
        """The predictions that may answer; None if there are none.

        Args:
            stored: From :meth:`unpack`.
            as_of: When each row's question is asked: ``datetime64[us]``. A prediction about a later time does not
                answer it, nor does one that is older than the model allows.
        """
        age = as_of - stored.event_time
        # NaT compares as False
        usable = (age >= np.timedelta64(0, "us")) & (age <= self._max_age) & (stored.columns[_DIGEST] == self._digest)
        for null in stored.nulls.values():
            usable &= ~null
        rows = np.flatnonzero(usable)
        if not len(rows):
            return None
        columns = {name: stored.columns[own][rows] for own, name in self._answers.items()}
        return Hits(rows, columns, age[rows] / np.timedelta64(1, "s"))

    def count_stale(self, stored: ViewColumns, as_of: Column) -> int:
        """How many rows have a prediction that is older than the model allows; arguments as for :meth:`select`."""
        # NaT compares as False
        return int(np.count_nonzero(as_of - stored.event_time > self._max_age))


def _texts(column: Column) -> list[bytes]:
    """The values of a column as bytes, such that no two rows of several columns have the same bytes joined."""
    if column.dtype == object:
        contents = [
            value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")
            for value in column.tolist()
        ]
        return [b"%d:%b" % (len(content), content) for content in contents]
    if column.dtype.kind == "f":
        # one zero and one NaN, whatever their bits are
        column = np.where(np.isnan(column), np.nan, column + 0.0)
    content, width = np.ascontiguousarray(column).tobytes(), column.nbytes // max(len(column), 1)
    return [content[at * width : (at + 1) * width] for at in range(len(column))]
