"""Feature views: what is stored about an entity, and the packed row in which an online store keeps it.

One packed row holds all features of one view for one entity, with the event time, in a fixed layout (little-endian):

    layout   u4   checksum of the view's name, version, and features with their types
    time     i8   event time, microseconds since 1970-01-01T00:00Z
    nulls    u1 × ceil(n / 8)   one bit per feature, least significant first; set where the value is null
    values   in the order of the view: float64, int64, bool as u1, timestamp as i8 microseconds;
             float64[n] as n × float64;
             string as u4 length, its UTF-8 bytes following all fixed values in order

A NaN among the values counts as null too, whoever wrote it; so does an array with a NaN.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import msgspec
import numpy as np

from tandem.contract import (
    Column,
    Columns,
    Field,
    FieldType,
    Value,
    array_length,
    check_name,
    numpy_dtype,
    parse_timestamp,
)
from tandem.errors import DefinitionError, Internal, StoreError, UnreadableRows


class Feature(msgspec.Struct, frozen=True, omit_defaults=True):
    """One stored value of an entity.

    Attributes:
        name: Name of its column.
        type: One of :data:`~tandem.contract.FieldType`.
        default: Taken when the entity has no row, when the row is too old, or when the value is null. A view whose
            features all have a default answers for every entity; otherwise an unknown entity is refused with 404.
        unit: Its unit.
        description: For people.
    """

    name: str
    type: FieldType = "float64"
    default: Value | None = None
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "feature")
        if isinstance(self.default, list):
            msgspec.structs.force_setattr(self, "default", tuple(self.default))
        try:
            Field(self.type, default=self.default)
        except DefinitionError as error:
            raise DefinitionError(f"feature {self.name!r}: {error}") from None

    @property
    def filler(self) -> Any:
        """The default as an element of the feature's column; NaN, zero, empty or NaT where there is none."""
        if self.default is None:
            length = array_length(self.type)
            if length is not None:
                return (np.nan,) * length
            return {"float64": np.nan, "string": "", "timestamp": np.datetime64("NaT")}.get(self.type, 0)
        return parse_timestamp(str(self.default)) if self.type == "timestamp" else self.default

    @property
    def nullable(self) -> bool:
        """Whether something stands for a null: a default, NaN or NaT."""
        return self.default is not None or self.type == "timestamp" or numpy_dtype(self.type).kind == "f"


class FeatureView(msgspec.Struct, frozen=True, omit_defaults=True):
    """Features that are computed together and stored under the same keys.

    Attributes:
        name: Name of the view.
        keys: Names of the serving keys that identify an entity.
        features: The features, in the order in which they are packed.
        version: Raised whenever the meaning of a feature changes; two versions are stored side by side.
        max_age: Older values count as missing: a number and one of ``s m h d w``, as ``"2d"``; None for no limit.
        description: For people.
    """

    name: str
    keys: tuple[str, ...]
    features: tuple[Feature, ...]
    version: int = 1
    max_age: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        check_name(self.name, "feature view")
        # lists read better in a model package; tuples keep the view hashable
        msgspec.structs.force_setattr(self, "keys", tuple(self.keys))
        msgspec.structs.force_setattr(self, "features", tuple(self.features))
        if not self.keys or not self.features:
            raise DefinitionError(f"feature view {self.name!r}: needs at least one key and one feature")
        names = [*self.keys, *(feature.name for feature in self.features)]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise DefinitionError(f"feature view {self.name!r}: {', '.join(sorted(repeated))} named twice")
        if self.max_age is not None:
            parse_duration(self.max_age)

    def on(self, *, prefix: str = "", **keys: str) -> ViewUse:
        """This view for other entities of the same row: ``city.on(prefix="origin_", city_id="origin_id")``.

        Args:
            prefix: Put before the name of each feature.
            keys: Which serving key stands for which key of the view; keys left out keep their name.

        Raises:
            DefinitionError: if the view has no such key.
        """
        if strange := keys.keys() - set(self.keys):
            raise DefinitionError(f"feature view {self.name!r} has no key {', '.join(sorted(strange))}")
        return ViewUse(view=self, prefix=prefix, serving_keys=tuple(keys.get(key, key) for key in self.keys))


class ViewUse(msgspec.Struct, frozen=True, omit_defaults=True):
    """A feature view as one model uses it; made by :meth:`FeatureView.on`.

    Attributes:
        view: The view.
        serving_keys: For each key of the view, the serving key that gives its value.
        prefix: Put before the name of each feature, so that one view can serve several entities of a row.
    """

    view: FeatureView
    serving_keys: tuple[str, ...]
    prefix: str = ""

    @property
    def name(self) -> str:
        """Name of this use, as in metrics and in ``degraded``: prefix and view name."""
        return self.prefix + self.view.name

    def column_names(self) -> tuple[str, ...]:
        """Names of the feature columns, in the order of the view."""
        return tuple(self.prefix + feature.name for feature in self.view.features)


@dataclass(slots=True)
class ViewColumns:
    """What a store knows about the entities of a batch, one view's features as columns.

    Attributes:
        columns: A column for each feature; where an entity is missing or a value null, any value of the dtype.
        event_time: ``datetime64[us]``, shape ``(rows,)``; NaT where the entity has no row.
        nulls: For each feature with nulls among found rows, where they are: ``bool``, shape ``(rows,)``.
    """

    columns: Columns
    event_time: Column
    nulls: dict[str, Column]

    def take(self, rows: Any) -> ViewColumns:
        """The given rows (index array, mask or slice) of every column."""
        return ViewColumns(
            {name: column[rows] for name, column in self.columns.items()},
            self.event_time[rows],
            {name: mask[rows] for name, mask in self.nulls.items()},
        )


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
        features = ",".join(f"{feature.name}={feature.type}" for feature in view.features)
        self.checksum = zlib.crc32(f"{view.name}:{view.version}:{','.join(view.keys)}:{features}".encode())
        # the position of a feature within its block of the packed row
        self._places = {
            name: (f"block {number}", at) for number, (_, names) in enumerate(blocks) for at, name in enumerate(names)
        }
        self._blocks = [
            (f"block {number}", names, numpy_dtype(type_), array_length(type_) is not None)
            for number, (type_, names) in enumerate(blocks)
            if type_ != "string"
        ]
        self._strings = [feature.name for feature in view.features if feature.type == "string"]
        self._missing = bytes(self._size)

    @cached_property
    def key_prefix(self) -> bytes:
        """What the store's keys of this view begin with."""
        return f"{self.view.name}:{self.view.version}:".encode()

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
            raise UnreadableRows(str(error), [at for at, row in enumerate(rows) if not self._readable(row)]) from None

    def _readable(self, row: bytes | None) -> bool:
        try:
            self._unpack([row])
        except StoreError:
            return False
        return True

    def _unpack(self, rows: Sequence[bytes | None]) -> ViewColumns:
        whole, absent = self._fill(rows)
        heads = [row[: self._size] for row in whole] if self._strings else whole
        packed = b"".join(heads)
        # join alone would not see one row too long beside one too short
        if len(packed) != self._size * len(rows) or (not self._strings and len(set(map(len, whole))) > 1):
            raise self._unreadable("a stored row has the wrong length")
        table = np.frombuffer(packed, self._fixed)
        event_time = table["time"].astype("datetime64[us]")
        layout = table["layout"]
        if absent is not None:
            event_time[absent] = np.datetime64("NaT")
            layout = layout[~absent]
        if np.count_nonzero(layout != self.checksum):
            raise self._unreadable("stored with other features")
        columns: Columns = {}
        nan = False
        for block, names, dtype, is_array in self._blocks:
            values = table[block]
            if is_array:
                columns.update((name, np.ascontiguousarray(values[:, at])) for at, name in enumerate(names))
            else:
                values = np.ascontiguousarray(values.T).view(dtype)
                columns.update(zip(names, values, strict=True))
            if dtype is _FLOAT64 and np.count_nonzero(np.isnan(values)):
                nan = True
        if self._strings:
            columns.update(self._texts(whole, table))
        nulls = self._nulls(table["nulls"])
        return ViewColumns(columns, event_time, self._with_nan(columns, nulls, event_time) if nan else nulls)

    def _fill(self, rows: Sequence[bytes | None]) -> tuple[Sequence[bytes], Column | None]:
        """Rows with an empty one for each that is absent, and where these are; None if there are none."""
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
                column[index] = row[at : at + length[index]].decode(errors="replace")
                at += length[index]
            if at != len(row):
                raise self._unreadable("a stored row is cut off")
        return columns

    def _nulls(self, bits: Any) -> dict[str, Column]:
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


class LookupPlan:
    """The lookups of one model: every key of every view of a batch, in one list, for one round trip.

    Args:
        uses: The model's views.
    """

    def __init__(self, uses: Sequence[ViewUse]) -> None:
        self.uses = tuple(uses)
        self._layouts = [RowLayout(use.view) for use in uses]
        self._prefixes = [(use, layout.key_prefix) for use, layout in zip(uses, self._layouts, strict=True)]
        self._serving_keys = {use.serving_keys for use in uses}

    def keys(self, request: Mapping[str, Column]) -> list[bytes]:
        """Store keys, view after view, of the rows whose serving-key columns are given."""
        keys: list[bytes] = []
        entities_of = {names: entities([request[name] for name in names]) for names in self._serving_keys}
        for use, prefix in self._prefixes:
            keys += [prefix + entity for entity in entities_of[use.serving_keys]]
        return keys

    def unpack(self, values: Sequence[bytes | None], rows: int) -> tuple[ViewColumns, ...]:
        """Columns of each view, from the values found for :meth:`keys`.

        Args:
            values: One per key, in the order of the keys.
            rows: Rows of the batch.

        Raises:
            Internal: ``stored_row_unreadable`` if stored rows do not fit their view; ``details`` names them.
        """
        return tuple(
            _unpack(use, layout, values[at * rows : (at + 1) * rows])
            for at, (use, layout) in enumerate(zip(self.uses, self._layouts, strict=True))
        )


def _unpack(use: ViewUse, layout: RowLayout, rows: Sequence[bytes | None]) -> ViewColumns:
    try:
        return layout.unpack(rows)
    except UnreadableRows as error:
        rule = f"must have a row in {use.name} that can be read"
        details = [{"row": row, "field": name, "rule": rule} for row in error.rows for name in use.serving_keys]
        raise Internal(str(error), code="stored_row_unreadable", details=details) from error


def parse_duration(text: str) -> np.timedelta64:
    """Duration such as ``"90s"``, ``"1.5h"`` or ``"2d"``, as ``timedelta64[us]``.

    Raises:
        DefinitionError: if it is not one.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not match:
        raise DefinitionError(f"{text!r} is not a duration: write a number and one of s m h d w, such as '2d'")
    return np.timedelta64(round(float(match[1]) * _SECONDS[match[2]] * 1_000_000), "us")


def entities(columns: Sequence[Column]) -> list[bytes]:
    """What follows the view in a store key, for the entities whose key columns are given.

    A single key is written as it is; of several, each but the last has its length in front, so that no two different
    entities share a key.
    """
    texts = [[str(part).encode(errors="surrogatepass") for part in column.tolist()] for column in columns]
    return texts[0] if len(texts) == 1 else [_join(parts) for parts in zip(*texts, strict=True)]


def nan_rows(column: Column) -> Column:
    """Where a ``float64`` column has a NaN, or an array with one; ``bool``, shape ``(rows,)``."""
    nan: Column = np.isnan(column)
    return nan if nan.ndim == 1 else np.any(nan, axis=1)


def _join(parts: Sequence[bytes]) -> bytes:
    return b"".join(b"%d:%b" % (len(part), part) for part in parts[:-1]) + parts[-1]


def _blocks(features: Sequence[Feature]) -> list[tuple[FieldType, tuple[str, ...]]]:
    """Neighbouring features of one type, which are unpacked together."""
    groups = groupby(features, key=lambda feature: feature.type)
    return [(type_, tuple(feature.name for feature in group)) for type_, group in groups]


def _packed(type_: FieldType, count: int) -> tuple[str, tuple[int, ...]]:
    """Dtype and shape in a packed row of so many features of one type."""
    length = array_length(type_)
    return _PACKED[type_.partition("[")[0]], (count,) if length is None else (count, length)


def _packable(column: Column, null: Column | None, dtype: np.dtype[Any]) -> Column:
    """The column without what stands at its nulls, so that equal values give equal rows."""
    values = (
        column if null is None else np.where(null if column.ndim == 1 else null[:, None], np.zeros(1, dtype), column)
    )
    return np.ascontiguousarray(values, dtype=dtype)


def _encode(column: Column, null: Column | None) -> list[bytes]:
    nulls = null.tolist() if null is not None else [False] * len(column)
    return [b"" if gone else str(value).encode() for value, gone in zip(column.tolist(), nulls, strict=True)]


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_FLOAT64 = numpy_dtype("float64")
_PACKED = {"float64": "<f8", "int64": "<i8", "bool": "u1", "string": "<u4", "timestamp": "<i8"}
