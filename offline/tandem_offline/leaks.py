"""What a training set would have of the future, if rows counted that were not known yet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tandem_offline.engine import Limits, Query
from tandem_offline.queries import SPINE, changed_rows
from tandem_offline.relations import ViewTable
from tandem_offline.spines import Spine


@dataclass(frozen=True)
class LeakedValue:
    """A value that would change.

    Attributes:
        row: Row of the spine, from 0.
        keys: Serving keys of the row.
        time: The time as of which it asks.
        view: Name of the view's use.
        feature: Name of the feature's column.
        known: The value that was known then; None for none.
        leaked: The value that became known later; None for none.
        created: When that became known.
    """

    row: int
    keys: dict[str, Any]
    time: Any
    view: str
    feature: str
    known: Any
    leaked: Any
    created: Any


@dataclass(frozen=True)
class ViewLeaks:
    """What would change of one view.

    Attributes:
        view: Name of its use.
        bitemporal: Whether its table tells since when a row is known; if not, nothing can be said about it.
        rows: Rows with a value that would change.
        values: Values that would change, by the name of the feature's column.
    """

    view: str
    bitemporal: bool
    rows: int
    values: dict[str, int]


@dataclass(frozen=True)
class Leaks:
    """What would change of a training set.

    Attributes:
        rows: Rows of the spine.
        changed_rows: Rows with a value that would change.
        views: The same for each view.
        examples: Some of the values, in the order of the spine.
    """

    rows: int
    changed_rows: int
    views: list[ViewLeaks]
    examples: list[LeakedValue]


def find_leaks(spine: Spine, views: Sequence[ViewTable], limits: Limits, examples: int) -> Leaks:
    """Join a spine twice, with and without what was not known yet, and compare.

    Args:
        spine: The spine.
        views: The tables of the model's views.
        limits: What the queries may use.
        examples: Values that are reported one by one, at most.

    Raises:
        DefinitionError: naming view, table, column and rows of what cannot be read.
    """
    reports, values = [], list[LeakedValue]()
    changed = np.zeros(0, np.int64)
    for view in views:
        counts = dict.fromkeys(view.use.column_names(), 0)
        rows = np.zeros(0, np.int64)
        if view.created is not None:
            for batch in _changes(spine, view, limits):
                if len(rows) < examples:
                    values += _values(spine, view, batch.slice(0, examples - len(rows)))
                rows = np.concatenate([rows, np.asarray(batch["row"])])
                for index, name in enumerate(counts):
                    counts[name] += int(pc.sum(batch[f"d{index}"]).as_py() or 0)
        changed = np.union1d(changed, rows)
        reports.append(ViewLeaks(view.use.name, view.created is not None, len(rows), counts))
    values.sort(key=lambda value: value.row)
    return Leaks(spine.scans[SPINE].table.count_rows(), len(changed), reports, values[:examples])


def _changes(spine: Spine, view: ViewTable, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Rows with a value that would change, in the order of the spine."""
    relations = (view.relation("v", spine, bitemporal=True), view.relation("w", spine, bitemporal=False))
    scans = {**spine.scans, "v": view.scan(), "w": view.scan()}
    return Query(changed_rows(spine.aliases, spine.alias(spine.time), *relations), scans).batches(limits)


def _values(spine: Spine, view: ViewTable, batch: pa.RecordBatch) -> Iterator[LeakedValue]:
    for row in batch.to_pylist():
        for index, feature in enumerate(view.use.column_names()):
            if row[f"d{index}"]:
                yield LeakedValue(
                    row=row["row"],
                    keys={key: row[spine.alias(key)] for key in view.use.serving_keys},
                    time=row[spine.alias(spine.time)].replace(tzinfo=UTC),
                    view=view.use.name,
                    feature=feature,
                    known=row[f"a{index}"],
                    leaked=row[f"b{index}"],
                    created=row["created"].replace(tzinfo=UTC),
                )
