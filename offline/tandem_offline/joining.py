"""The point-in-time join of a spine with all views of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tandem.arrow_tables import ARROW_TYPES
from tandem.dtypes import array_length
from tandem.errors import DefinitionError
from tandem.model import Model
from tandem_offline.engine import Limits, Query
from tandem_offline.feature_table import FeatureTable, Join
from tandem_offline.queries import SPINE, point_in_time
from tandem_offline.relations import ViewTable
from tandem_offline.scanning import Scan
from tandem_offline.spines import Spine


def join(
    model: Model,
    spine: Spine,
    views: Sequence[ViewTable],
    limits: Limits,
    *,
    bitemporal: bool,
    label: str | None = None,
    request: Mapping[str, Any] | None = None,
) -> FeatureTable:
    """Join each row of a spine with the rows of all views as of its time.

    Args:
        model: The model.
        spine: The spine.
        views: The tables of the model's views, in its order.
        limits: What the query may use.
        bitemporal: Whether rows count only from the time on at which they became known.
        label: Column of the labels.
        request: Values of further fields of the contract, the same for all rows.

    Raises:
        DefinitionError: naming the field, if a value of ``request`` is not valid.
    """
    constants = [_constant(model, spine, name, value) for name, value in (request or {}).items()]
    values = [value for _, value in constants]
    names = [f"v{index}" for index in range(len(views))]
    relations = [view.relation(name, spine, bitemporal=bitemporal) for name, view in zip(names, views, strict=True)]
    scans = {**spine.scans, **{name: view.scan() for name, view in zip(names, views, strict=True)}}
    query = Query(point_in_time(spine.aliases, spine.alias(spine.time), relations, spine.sql), scans)
    # without a join the rows are those of the spine's table, in its order
    is_join = views or spine.sql is not None
    rows: Join = _Join(query, limits, spine, values) if is_join else _SpineRows(spine, values)
    fields = [pa.field(name, kind) for name, kind in spine.fields.items()]
    fields += [pa.field(name, value.type) for name, value in constants]
    fields += [field for view in views for field in view.result_fields()]
    return FeatureTable(model, pa.schema(fields), rows, label=label)


@dataclass(frozen=True)
class _Join:
    """The query, and values of further columns, which are the same in all rows."""

    query: Query
    limits: Limits
    spine: Spine
    constants: Sequence[pa.Scalar[Any]]

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        for batch in self.query.batches(self.limits, rows):
            yield _with_constants(batch, len(self.spine.fields), self.constants)

    def count(self) -> int:
        return self.spine.count(self.limits)

    def identity(self) -> str:
        return self.query.identity() + repr([str(value) for value in self.constants])


@dataclass(frozen=True)
class _SpineRows:
    """The rows of a spine that is one table, for a model without views."""

    spine: Spine
    constants: Sequence[pa.Scalar[Any]]

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        names = self.spine.aliases
        for batch in self._scan.batches():
            for start in range(0, batch.num_rows, rows):
                part = batch.slice(start, rows).select(names)
                yield _with_constants(part, len(names), self.constants)

    def count(self) -> int:
        return int(self._scan.table.count_rows())

    def identity(self) -> str:
        return self._scan.identity() + repr([str(value) for value in self.constants])

    @property
    def _scan(self) -> Scan:
        return self.spine.scans[SPINE]


def _constant(model: Model, spine: Spine, name: str, value: Any) -> tuple[str, pa.Scalar[Any]]:
    field = model.contract.inputs.get(name)
    if field is None:
        fields = ", ".join(model.contract.inputs)
        raise DefinitionError(f"request: the contract has no field {name!r}; it has {fields}")
    if name in spine.fields:
        raise DefinitionError(f"request: {name!r} is a column of the rows already")
    kind = ARROW_TYPES[field.type] if array_length(field.type) is None else pa.list_(pa.float64())
    try:
        return name, pa.scalar(value, kind)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DefinitionError(f"request: {name!r} is {value!r}; the field is {field.type}") from error


def _with_constants(batch: pa.RecordBatch, at: int, constants: Sequence[Any]) -> pa.RecordBatch:
    if not constants:
        return batch
    columns: list[pa.Array[Any]] = [pa.repeat(value, batch.num_rows) for value in constants]
    arrays = [*batch.columns[:at], *columns, *batch.columns[at:]]
    return pa.RecordBatch.from_arrays(arrays, names=[f"c{index}" for index in range(len(arrays))])
