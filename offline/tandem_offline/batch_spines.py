"""Spines that are queries of a view's own table: its rows in a range of time, or the newest one of each entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tandem.arrow_tables import naming_file, open_table
from tandem.errors import DefinitionError
from tandem.model import Model
from tandem.tables import is_table, missing_column
from tandem_offline.queries import as_compared
from tandem_offline.relations import ViewTable
from tandem_offline.scanning import ROW, Scan
from tandem_offline.spines import Spine, is_key, is_text, time_column

_UTC = pa.timestamp("us", "UTC")


def choose_root(model: Model, views: Sequence[ViewTable], name: str | None) -> ViewTable:
    """The view whose rows are predicted for.

    Args:
        model: The model.
        views: The tables of its views.
        name: Name of its use; None for the first view whose keys include those of all others.

    Raises:
        DefinitionError: if there is no such view.
    """
    needed = {key for view in views for key in view.use.serving_keys}
    if name is None:
        for view in views:
            if needed == set(view.use.serving_keys):
                return view
        keys = ", ".join(sorted(needed))
        raise DefinitionError(f"no feature view of model {model.name!r} has all of the keys {keys}: give a spine")
    for view in views:
        if view.use.name == name:
            if missing := needed - set(view.use.serving_keys):
                keys = ", ".join(sorted(missing))
                raise DefinitionError(f"feature view {name!r} cannot be the root, since it has no {keys}: give a spine")
            return view
    names = ", ".join(view.use.name for view in views)
    raise DefinitionError(f"model {model.name!r} has no feature view {name!r}; it has {names}")


def check_query(
    *, in_range: bool, latest: bool, has_spine: bool, has_entities: bool, has_as_of: bool, has_root: bool
) -> None:
    """Refuse arguments of a query for batch data that do not go together.

    Raises:
        DefinitionError: naming them.
    """
    if in_range + latest + has_spine != 1:
        raise DefinitionError("batch_data takes start_time and end_time, or latest=True, or spine: one of them")
    if has_spine and (has_entities or has_root):
        raise DefinitionError("batch_data with spine= takes no entity_ids= and no root=")
    if has_as_of and not latest:
        raise DefinitionError("batch_data takes as_of= with latest=True only")


class BatchSpine:
    """Spines of the rows of one view.

    Args:
        model: The model.
        root: The view.
        entity_ids: Only these entities: values of its key, tuples for several keys, or a table of serving keys.

    Raises:
        DefinitionError: naming the key of the entities that is missing or of another type.
    """

    def __init__(self, model: Model, root: ViewTable, entity_ids: Any = None) -> None:
        self.root = root
        self._entities = None if entity_ids is None else _entities(root, entity_ids)
        self._time = time_column(model)
        names = root.table.schema.names
        own = {*root.use.serving_keys, *root.use.view.keys, self._time}
        self._request = [name for name in model.contract.inputs if name in names and name not in own]
        self._scan = root.scan({f"r{index}": name for index, name in enumerate(self._request)})
        self._keys = [f"k{index}" for index in range(len(root.use.serving_keys))]
        self._newest = "event_time DESC, " + ("created DESC, " if root.created else "") + f"{ROW} DESC"

    def in_range(self, start: datetime | None, end: datetime | None) -> Spine:
        """The rows with event times from ``start`` on and before ``end``, as of their event times.

        Of several rows of an entity with the same event time, the one that became known last counts.

        Raises:
            DefinitionError: if a time has no zone, or the range is empty.
        """
        limits = [f"event_time >= {_literal('start_time', start)}"] if start is not None else []
        limits += [f"event_time < {_literal('end_time', end)}"] if end is not None else []
        if start is not None and end is not None and start >= end:
            raise DefinitionError(f"start_time {start} is not before end_time {end}")
        entities = self._entities
        among = f" SEMI JOIN entities e ON {self._same_entity('root', entities)}" if entities else ""
        keys = ", ".join(self._keys)
        rows = (
            f"SELECT * FROM root{among} WHERE {' AND '.join(limits)} "
            f"QUALIFY row_number() OVER (PARTITION BY {keys}, event_time ORDER BY {self._newest}) = 1"
        )
        return self._spine(rows, "event_time", f"event_time, {keys}", self._scan)

    def latest(self, as_of: datetime) -> Spine:
        """A row for each entity, as of one time; of given entities also for those of which there is no row.

        Raises:
            DefinitionError: if the time has no zone.
        """
        at = _literal("as_of", as_of)
        arrived = f" AND created <= {at}" if self.root.created else ""
        rows = (
            f"SELECT * FROM root WHERE event_time <= {at}{arrived} "
            f"QUALIFY row_number() OVER (PARTITION BY {', '.join(self._keys)} ORDER BY {self._newest}) = 1"
        )
        entities = self._entities
        if entities is None:
            return self._spine(rows, at, ", ".join(self._keys), self._scan)
        request = "".join(f", n.r{index}" for index in range(len(self._request)))
        keys, same = ", ".join(f"e.{key}" for key in self._keys), self._same_entity("n", entities)
        first = f"SELECT {', '.join(self._keys)}, min({ROW}) AS {ROW} FROM entities GROUP BY {', '.join(self._keys)}"
        rows = f"SELECT {keys}, e.{ROW}{request} FROM ({first}) e LEFT JOIN ({rows}) n ON {same}"
        return self._spine(rows, at, ROW, entities)

    def _spine(self, rows: str, at: str, order: str, keys: Scan) -> Spine:
        columns = [*self._keys, at, *(f"r{index}" for index in range(len(self._request)))]
        selected = ", ".join(f"{column} AS s{index}" for index, column in enumerate(columns))
        sql = f"SELECT {selected}, row_number() OVER (ORDER BY {order}) - 1 AS {ROW} FROM ({rows})"
        serving_keys = enumerate(self.root.use.serving_keys)
        fields: dict[str, pa.DataType] = {key: keys.schema.field(f"k{index}").type for index, key in serving_keys}
        fields[self._time] = _UTC
        for index, name in enumerate(self._request):
            kind = self._scan.schema.field(f"r{index}").type
            fields[name] = _UTC if pa.types.is_timestamp(kind) else kind
        scans = {"root": self._scan} | ({"entities": self._entities} if self._entities else {})
        return Spine(fields, self._time, scans, sql)

    def _same_entity(self, relation: str, entities: Scan) -> str:
        conditions = []
        for key in self._keys:
            as_text = is_text(self._scan.schema.field(key).type) != is_text(entities.schema.field(key).type)
            sides = (as_compared(f"{side}.{key}", as_text=as_text) for side in (relation, "e"))
            conditions.append(" = ".join(sides))
        return " AND ".join(conditions)


def _entities(root: ViewTable, entity_ids: Any) -> Scan:
    keys = root.use.serving_keys
    if not is_table(entity_ids):
        entity_ids = _columns_of(keys, list(entity_ids))
    with naming_file(entity_ids):
        table = open_table(entity_ids)
    for key in keys:
        if key not in table.schema.names:
            raise DefinitionError(missing_column(key, table.schema.names, table="entity_ids"))
        if not is_key(kind := table.schema.field(key).type):
            raise DefinitionError(f"entity_ids: {key!r} is {kind}; a key is text or an integer")
    required = dict.fromkeys(keys, "a key must always be given")
    return Scan("entity_ids", table, {f"k{index}": key for index, key in enumerate(keys)}, required)


def _columns_of(keys: Sequence[str], entities: Sequence[Any]) -> Mapping[str, Any]:
    if len(keys) == 1:
        return {keys[0]: entities}
    if wrong := [entity for entity in entities if not isinstance(entity, tuple) or len(entity) != len(keys)]:
        raise DefinitionError(f"entity_ids: {wrong[0]!r} must be a tuple of {', '.join(keys)}")
    return {key: [entity[at] for entity in entities] for at, key in enumerate(keys)}


def _literal(name: str, moment: datetime) -> str:
    if moment.tzinfo is None:
        raise DefinitionError(f"{name} {moment} has no time zone")
    return f"TIMESTAMP '{moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=' ')}'"
