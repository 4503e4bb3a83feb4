"""Records to events of a feature view, partition by partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from tandem.contract import Contract, Prediction
from tandem.dtypes import Column, Columns, FieldType
from tandem.errors import ContractViolation, DefinitionError, RequestError, Violation
from tandem.fields import Field, Value
from tandem.rows import Row, RowReader
from tandem.store_keys import entities
from tandem.windows.layout import Events, WindowLayout
from tandem_stream.decoding import Decoder
from tandem_stream.records import Records


def event_contract(layout: WindowLayout, keys: Mapping[str, Field]) -> Contract:
    """The fields of an event: the view's keys, its event time, and the columns of its statistics, which may be null.

    Args:
        layout: Of the view.
        keys: A field for each key of the view.

    Raises:
        DefinitionError: if a column has two types.
    """
    fields = dict(keys) | {layout.window.event_time: Field("timestamp")}
    for name, type_ in layout.columns.items():
        if fields.setdefault(name, _nullable(type_)).type != type_:
            raise DefinitionError(
                f"feature view {layout.view.name!r}: column {name!r} is {type_}, and the field {fields[name].type}"
            )
    return Contract(
        model=layout.view.name,
        serving_keys={},
        passed_features=fields,
        request_parameters={},
        # an event is not answered
        prediction=Prediction("window"),
        outputs={},
    )


def _nullable(type_: FieldType) -> Field:
    if type_ in ("float64", "timestamp"):
        return Field(type_, optional=True)
    empty: dict[str, Value] = {"string": "", "bool": False}
    return Field(type_, default=empty.get(type_, 0))


@dataclass(slots=True)
class DecodedEvents:
    """Events of a batch of records.

    Attributes:
        events: Those of each partition, in the order of their arrival.
        rows: For each partition, which records they are of; ascending.
        rejected: Why other records are no events, by record.
    """

    events: dict[int, Events] = field(default_factory=dict)
    rows: dict[int, Column] = field(default_factory=dict)
    rejected: dict[int, RequestError] = field(default_factory=dict)


class EventReader:
    """Reads the events of one feature view.

    Args:
        layout: Of the view.
        contract: Of :func:`event_contract`.
        decoder: Reads records with the fields of the contract.
        max_ahead_s: Most seconds that an event may be ahead of the time of its record; 0 for any number.
    """

    def __init__(self, layout: WindowLayout, contract: Contract, decoder: Decoder, *, max_ahead_s: float = 0.0) -> None:
        self._layout = layout
        self._decoder = decoder
        self._rows = RowReader(contract)
        self._max_ahead_s = max_ahead_s
        inputs = contract.inputs
        # where a float is left out, there is a NaN, which is null
        self._fillable = [
            name for name in layout.columns if not inputs[name].required and inputs[name].type != "float64"
        ]

    def read(self, records: Records) -> DecodedEvents:
        """The events of all records that can be decoded, and the reasons why others cannot.

        Raises:
            Unavailable: ``schema_registry_unavailable``.
        """
        decoded = self._decoder.decode(records)
        result = DecodedEvents(rejected=decoded.rejected)
        if not decoded.rows:
            return result
        columns = self._rows.columns(decoded.rows)
        positions = np.array(decoded.positions)
        times = columns[self._layout.window.event_time]
        ahead = self._ahead(times, records.timestamps[positions])
        result.rejected |= {row: self._violation() for row in positions[ahead].tolist()}
        partitions = np.array(records.partitions)[positions]
        keys = entities([columns[key] for key in self._layout.view.keys])
        nulls = self._nulls(decoded.rows)
        for partition in np.unique(partitions[~ahead]).tolist():
            index = np.flatnonzero((partitions == partition) & ~ahead)
            result.rows[partition] = positions[index]
            result.events[partition] = self._part(keys, times, columns, nulls, index)
        return result

    def _part(
        self, keys: Sequence[bytes], times: Column, columns: Columns, nulls: Mapping[str, Column], index: Column
    ) -> Events:
        return Events(
            [keys[row] for row in index.tolist()],
            times[index],
            {name: columns[name][index] for name in self._layout.columns},
            {name: null[index] for name, null in nulls.items()},
        )

    def _nulls(self, rows: Sequence[Row]) -> dict[str, Column]:
        nulls = {}
        for name in self._fillable:
            values = (getattr(row, name) for row in rows)
            nulls[name] = np.array([value is None or value is msgspec.UNSET for value in values], bool)
        return nulls

    def _ahead(self, times: Column, timestamps: Column) -> Column:
        """Which events are too far ahead of the times of their records, milliseconds since 1970 or -1."""
        if not self._max_ahead_s:
            return np.zeros(len(times), bool)
        latest = timestamps * 1000 + round(self._max_ahead_s * 1_000_000)
        ahead: Column = (timestamps >= 0) & (times.astype(np.int64) > latest)
        return ahead

    def _violation(self) -> ContractViolation:
        rule = f"must be at most {self._max_ahead_s:g} s after the time of the record"
        return ContractViolation([Violation(None, self._layout.window.event_time, rule)])
