"""The packed row in which an online store keeps the features of one view for one entity.

The layout is fixed, little-endian:

    layout   u4   checksum of the view's name, version, features with their types, and window with its statistics
    time     i8   event time, microseconds since 1970-01-01T00:00Z
    nulls    u1 × ceil(n / 8)   one bit per feature, least significant first; set where the value is null
    values   in the order of the view: float64, float32, int64, bool as u1, timestamp as i8 microseconds;
             float32[n] as n × float32, int64[<=n] as n + 1 × int64, of which the last is the length; others likewise;
             string as u4 length, its UTF-8 bytes following all fixed values in order

A NaN among the values counts as null too, whichever program wrote it; so does an array with a NaN.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Literal, NamedTuple

import numpy as np

from tandem.dtypes import Column, Columns, FieldType, column_width, element_type, nan_rows, numpy_dtype
from tandem.errors import StoreError, UnreadableRows
from tandem.features import Feature, FeatureView
from tandem.store_keys import entities, key_prefix


@dataclass(slots=True)
class Outage:
    """Rows of which the store has said nothing that can be read.

    Attributes:
        reason: ``unavailable`` or ``unreadable``.
        age_s: Seconds since each row was read last: ``float64``, shape ``(rows,)``; infinite where nothing is known
            of it, NaN where the store has answered.
        is_late: Whether the request had no more time to wait for the store.
    """

    reason: Literal["unavailable", "unreadable"]
    age_s: Column
    is_late: bool = False

    @property
    def unknown(self) -> Column:
        """Rows of which nothing is known: ``bool``, shape ``(rows,)``."""
        return np.isinf(self.age_s)


@dataclass(slots=True)
class ViewColumns:
    """What a store knows about the entities of a batch, one view's features as columns.

    Attributes:
        columns: A column for each feature; where an entity is missing or a value null, any value of the dtype.
        event_time: ``datetime64[us]``, shape ``(rows,)``; NaT where the entity has no row.
        nulls: For each feature with nulls among found rows, where they are: ``bool``, shape ``(rows,)``.
        outage: Rows that are not from the store, which did not answer; None if there are none.
    """

    columns: Columns
    event_time: Column
    nulls: dict[str, Column]
    outage: Outage | None = None

    def take(self, rows: Any) -> ViewColumns:
        """The given rows (index array, mask or slice) of every column."""
        return ViewColumns(
            {name: column[rows] for name, column in self.columns.items()},
            self.event_time[rows],
            {name: mask[rows] for name, mask in self.nulls.items()},
            Outage(self.outage.reason, self.outage.age_s[rows]) if self.outage else None,
        )


class Block(NamedTuple):
    """Neighbouring features of one type in the packed row.

    Attributes:
        names: Names of the features.
        type: Their type.
        start: First byte.
        stop: Byte after the last one.
    """

    names: tuple[str, ...]
    type: FieldType
    start: int
    stop: int


class RowLayout:
    """Packs and unpacks the rows of one feature view; the format is in the module's text."""

    def __init__(self, view: FeatureView) -> None:
        self.view = view
        blocks = _blocks(view.features)
        self._fixed = np.dtype(
            [("layout", "<u4"), ("time", "<i8"), ("nulls", "u1", ((len(view.features) + 7) // 8,))]
            + [(f"block {number}", *_packed(type_, len(names))) for number, (type_, names) in enumerate(blocks)]
        )
        self._size = self._fixed.itemsize
        # whoever renames, retypes or reorders features, or changes their windows, gets another checksum, and never
        # reads bytes as other values
        features = ",".join(f"{feature.name}={feature.type}" for feature in view.features)
        layout = f"{view.name}:{view.version}:{','.join(view.keys)}:{features}".encode()
        self.checksum = zlib.crc32(layout + view.window_definition)
        # an array: NumPy would make one of a number each time
        self._layout = np.array(self.checksum, "<u4")
        # the position of a feature within its block of the packed row
        self._places = {
            name: (f"block {number}", at) for number, (_, names) in enumerate(blocks) for at, name in enumerate(names)
        }
        self._blocks = [
            (f"block {number}", names, numpy_dtype(type_), column_width(type_) is not None, type_.startswith("float"))
            for number, (type_, names) in enumerate(blocks)
            if type_ != "string"
        ]
        self._strings = [feature.name for feature in view.features if feature.type == "string"]
        # zeros: any value will do, as the absent rows are masked by their event time
        self._missing = bytes(self._size)

    @property
    def blocks(self) -> list[Block]:
        """The parts of a row's fixed values, in their order."""
        fields: Mapping[str, Any] = self._fixed.fields or {}
        blocks = []
        for number, (type_, names) in enumerate(_blocks(self.view.features)):
            dtype, start = fields[f"block {number}"][:2]
            blocks.append(Block(names, type_, start, start + dtype.itemsize))
        return blocks

    @cached_property
    def key_prefix(self) -> bytes:
        """What the store's keys of this view begin with."""
        return key_prefix(self.view)

    def keys(self, columns: Sequence[Column]) -> list[bytes]:
        """Store keys of the entities whose key columns are given in the view's order."""
        prefix = self.key_prefix
        return [prefix + entity for entity in entities(columns)]

    def pack(
        self, columns: Mapping[str, Column], event_time: Column, nulls: Mapping[str, Column] | None = None
    ) -> list[bytes]:
        """Rows of the given columns.

        Args:
            columns: A column for each feature of the view; a NaN is packed as it is, and read as null.
            event_time: ``datetime64[us]``, shape ``(rows,)``, without NaT.
            nulls: Masks of null values, by feature.

        Returns:
            One packed row per entry.
        """
        rows = np.zeros(len(event_time), self._fixed)
        rows["layout"] = self.checksum
        rows["time"] = event_time.astype("datetime64[us]").astype(np.int64)
        texts = {name: _encode(columns[name], (nulls or {}).get(name)) for name in self._strings}
        for position, feature in enumerate(self.view.features):
            column = columns[feature.name]
            null = (nulls or {}).get(feature.name)
            if null is not None:
                rows["nulls"][:, position // 8] |= null.astype(np.uint8) << (position % 8)
            block, place = self._places[feature.name]
            rows[block][:, place] = (
                [len(text) for text in texts[feature.name]]
                if feature.type == "string"
                else _packable(column, null, numpy_dtype(feature.type)).view(_packed(feature.type, 1)[0])
            )
        tails = zip(*texts.values(), strict=True) if texts else (() for _ in range(len(rows)))
        return [row.tobytes() + b"".join(tail) for row, tail in zip(rows, tails, strict=True)]

    def unpack(self, rows: Sequence[bytes | None]) -> ViewColumns:
        """Columns of packed rows; None stands for an entity that the store does not know.

        Raises:
            UnreadableRows: if rows were packed with another layout, or are cut off.
        """
        try:
            return self._unpack(rows)
        except StoreError as error:
            # row by row only after a failure: a batch is read at once, and one bad row is rare
            raise UnreadableRows(str(error), [at for at, row in enumerate(rows) if not self._readable(row)]) from None

    def _readable(self, row: bytes | None) -> bool:
        try:
            self._unpack([row])
        except StoreError:
            return False
        return True

    def _unpack(self, rows: Sequence[bytes | None]) -> ViewColumns:
        whole, absent = self._fill(rows)
        # one buffer for all rows: NumPy reads a whole batch from it at the cost of one row
        heads = [row[: self._size] for row in whole] if self._strings else whole
        packed = b"".join(heads)
        # join alone would not see one row too long beside one too short
        if len(packed) != self._size * len(rows) or (not self._strings and len(set(map(len, whole))) > 1):
            raise self._unreadable("a stored row has the wrong length")
        # no copy: the columns are made of this view
        table = np.frombuffer(packed, self._fixed)
        event_time = table["time"].astype(_TIME)
        layout = table["layout"]
        if absent is not None:
            event_time[absent] = np.datetime64("NaT")
            layout = layout[~absent]
        # count_nonzero is several times faster than any() on the few rows of a batch
        if np.count_nonzero(layout != self._layout):
            raise self._unreadable("stored with other features")
        columns: Columns = {}
        nan = False
        for block, names, dtype, is_array, is_float in self._blocks:
            values = table[block]
            if is_array:
                columns.update((name, np.ascontiguousarray(values[:, at])) for at, name in enumerate(names))
            else:
                # one transposition for all features of the type; each then is a contiguous column. Copied even where it
                # lies so already: what is not aligned, as nothing is in the packed rows, is slower ever after
                values = values.T.copy().view(dtype)
                columns.update(zip(names, values, strict=True))
            # once for the block: masks by feature are needed only where there is a NaN
            if is_float and np.count_nonzero(np.isnan(values)):
                nan = True
        if self._strings:
            columns.update(self._texts(whole, table))
        nulls = self._nulls(table["nulls"])
        return ViewColumns(columns, event_time, self._with_nan(columns, nulls, event_time) if nan else nulls)

    def _fill(self, rows: Sequence[bytes | None]) -> tuple[Sequence[bytes], Column | None]:
        """Rows with an empty one for each that is absent, and where these are; None if there are none."""
        # the usual case, without a second list
        if None not in rows:
            return rows, None  # type: ignore[return-value]
        absent = np.array([row is None for row in rows], bool)
        return [self._missing if row is None else row for row in rows], absent

    def _texts(self, rows: Sequence[bytes], table: Any) -> Columns:
        columns = {name: np.empty(len(rows), object) for name in self._strings}
        places = [self._places[name] for name in self._strings]
        lengths = [table[block][:, place].tolist() for block, place in places]
        for index, row in enumerate(rows):
            at = self._size
            for column, length in zip(columns.values(), lengths, strict=True):
                # a text that is not UTF-8 must not fail the whole batch
                column[index] = row[at : at + length[index]].decode(errors="replace")
                at += length[index]
            if at != len(row):
                raise self._unreadable("a stored row is cut off")
        return columns

    def _nulls(self, bits: Any) -> dict[str, Column]:
        # most batches have no null at all, and need no mask
        if not np.count_nonzero(bits):
            return {}
        masks = {
            feature.name: (bits[:, position // 8] >> (position % 8) & 1).astype(bool)
            for position, feature in enumerate(self.view.features)
        }
        return {name: mask for name, mask in masks.items() if mask.any()}

    def _with_nan(self, columns: Columns, nulls: dict[str, Column], event_time: Column) -> dict[str, Column]:
        """The null masks with what was stored as NaN."""
        masks = {
            feature.name: nulls.get(feature.name, False) | (nan_rows(columns[feature.name]) & ~np.isnat(event_time))
            for feature in self.view.features
            if columns[feature.name].dtype.kind == "f"
        }
        return nulls | {name: mask for name, mask in masks.items() if mask.any()}

    def _unreadable(self, why: str) -> StoreError:
        return StoreError(f"feature view {self.view.name!r}: {why}; materialize the view again")


def _blocks(features: Sequence[Feature]) -> list[tuple[FieldType, tuple[str, ...]]]:
    """Neighbouring features of one type, which are unpacked together."""
    groups = groupby(features, key=lambda feature: feature.type)
    return [(type_, tuple(feature.name for feature in group)) for type_, group in groups]


def _packed(type_: FieldType, count: int) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape in a packed row of so many features of one type."""
    width = column_width(type_)
    return _PACKED[element_type(type_)], (count,) if width is None else (count, width)


def _packable(column: Column, null: Column | None, dtype: np.dtype[Any]) -> Column:
    """The column without what stands at its nulls, so that equal values give equal rows."""
    values = (
        column if null is None else np.where(null if column.ndim == 1 else null[:, None], np.zeros(1, dtype), column)
    )
    return np.ascontiguousarray(values, dtype=dtype)


def _encode(column: Column, null: Column | None) -> list[bytes]:
    nulls = null.tolist() if null is not None else [False] * len(column)
    return [b"" if gone else str(value).encode() for value, gone in zip(column.tolist(), nulls, strict=True)]


_TIME = np.dtype("datetime64[us]")
_PACKED = {"float64": "<f8", "float32": "<f4", "int64": "<i8", "bool": "u1", "string": "<u4", "timestamp": "<i8"}
