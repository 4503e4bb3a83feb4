"""Online store of a Feast repository, read by Feast itself; what it returns is bound by name.

Feast gives features in an order that differs from process to process, and values however old they are. Here each value
is taken by its name into the row that the model's feature view describes, and a row that is older than Feast's ``ttl``
is missing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from tandem.dtypes import Column
from tandem.durations import parse_duration
from tandem.errors import DefinitionError, StoreError
from tandem.feast.repository import open_repository, read_view
from tandem.feast.types import column, fits, key_type
from tandem.features import FeatureView
from tandem.packed_rows import RowLayout
from tandem.store_keys import split_entity

THREADS: Final = 8
"""Reads at one time: Feast's are blocking, so each takes a thread."""

UNREADABLE: Final = b""
"""In place of a row that does not fit its view."""


@dataclass(frozen=True)
class _View:
    """A feature view of the model, and what Feast says about it.

    Attributes:
        layout: How its rows are packed.
        key_types: Of its keys, in their order.
        ttl: How old a row may be; None where the model's view says that itself, or there is no limit.
    """

    layout: RowLayout
    key_types: tuple[str, ...]
    ttl: np.timedelta64 | None

    @property
    def name(self) -> str:
        return self.layout.view.name


class FeastStore:
    """Rows of a model's feature views as the online store of a Feast repository has them.

    Feature views are found by name; ``version`` of a view is not known to Feast. Values are written by Feast alone.

    Args:
        repository: Directory with ``feature_store.yaml``.
        views: The feature views of the model.

    Raises:
        StoreError: if the repository cannot be read, or has no such views: naming the view, its keys or features, and
            what is different. On-demand feature views are refused.
    """

    def __init__(self, repository: Path | str, views: Iterable[FeatureView]) -> None:
        self._place = f"Feast repository {repository}"
        try:
            self._feast = open_repository(repository)
            bound = [_bind(self._feast, view) for view in views]
        except DefinitionError as error:
            raise StoreError(f"{self._place}: {error}") from error
        self._views = {(view.name.encode(), b"%d" % view.layout.view.version): view for view in bound}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="feast")

    def __repr__(self) -> str:
        return f"FeastStore({self._place})"

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, None where there is none.

        Raises:
            StoreError: if Feast cannot read its online store.
        """
        # whoever gives up leaves the thread to Feast, which ends when its store answers; there are few threads
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.get_now, keys)

    async def put(
        self, rows: Iterable[tuple[bytes, bytes]], *, overwrite: bool = False, ttl_s: float | None = None
    ) -> list[bytes]:
        """Writes nothing.

        Raises:
            StoreError: always: Feast writes its online store, with ``feast materialize``.
        """
        raise StoreError(f"{self._place} is written by Feast: use `feast materialize` or a push source")

    async def close(self) -> None:
        """End the threads when their reads are done."""
        self._threads.shutdown(wait=False)

    def get_now(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, without an event loop; from any thread.

        Raises:
            StoreError: if Feast cannot read its online store.
        """
        rows: list[bytes | None] = [None] * len(keys)
        for (names, types, entities), uses in self._group(keys).items():
            columns = [
                _entity_values(values, type_) for values, type_ in zip(zip(*entities, strict=True), types, strict=True)
            ]
            # a key that is no whole number names no entity
            readable = [at for at in range(len(entities)) if all(values[at] is not None for values in columns)]
            if not readable:
                continue
            entity_rows = {name: [values[at] for at in readable] for name, values in zip(names, columns, strict=True)}
            for places, packed in self._read(uses, entity_rows):
                for at, row in zip(readable, packed, strict=True):
                    rows[places[at]] = row
        return rows

    def _group(
        self, keys: Sequence[bytes]
    ) -> dict[tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, ...], ...]], list[tuple[_View, list[int]]]]:
        """The keys of each view, and views of the same entities together, which Feast reads in one round trip."""
        of_view: dict[tuple[bytes, bytes], tuple[list[tuple[str, ...]], list[int]]] = defaultdict(lambda: ([], []))
        for place, key in enumerate(keys):
            name, version, entity = key.split(b":", 2)
            entities, places = of_view[name, version]
            entities.append(tuple(split_entity(entity, len(self._views[name, version].key_types))))
            places.append(place)
        groups = defaultdict(list)
        for identity, (entities, places) in of_view.items():
            view = self._views[identity]
            groups[view.layout.view.keys, view.key_types, tuple(entities)].append((view, places))
        return groups

    def _read(
        self, uses: Sequence[tuple[_View, list[int]]], entity_rows: dict[str, list[Any]]
    ) -> Iterable[tuple[list[int], list[bytes | None]]]:
        features = [f"{view.name}:{feature.name}" for view, _ in uses for feature in view.layout.view.features]
        try:
            response = self._feast.get_online_features(features, entity_rows, full_feature_names=True)
        except Exception as error:
            raise StoreError(f"{self._place}: {type(error).__name__}: {error}") from error
        values = response.to_dict()
        vectors = dict(zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True))
        for view, places in uses:
            first = vectors[f"{view.name}__{view.layout.view.features[0].name}"]
            times = np.array([time.ToMicroseconds() for time in first.event_timestamps], "datetime64[us]")
            yield places, _pack(view, values, times)


def _bind(repository: Any, view: FeatureView) -> _View:
    """What Feast says about a view.

    Raises:
        DefinitionError: if it has other keys, lacks a feature, or a feature has another type.
    """
    source = read_view(repository, view.name)
    keys = {field.name: field for field in source.entity_columns}
    if set(keys) != set(view.keys):
        raise DefinitionError(
            f"feature view {view.name!r} has the keys {', '.join(view.keys)}; in the Feast repository it has "
            f"{', '.join(sorted(keys))}"
        )
    types = tuple(key_type(keys[name]) for name in view.keys)
    if strange := [
        f"{name} is {keys[name].dtype}" for name, type_ in zip(view.keys, types, strict=True) if type_ is None
    ]:
        raise DefinitionError(f"feature view {view.name!r}: key {strange[0]}; a key is a string or a whole number")
    _check_features(source, view)
    ttl = np.timedelta64(source.ttl or 0, "us")
    own = parse_duration(view.max_age) if view.max_age is not None else None
    # where the model's own limit is at least as strict, its reports say how old the row is
    limit = None if not ttl or (own is not None and own <= ttl) else ttl
    return _View(RowLayout(view), tuple(type_ or "" for type_ in types), limit)


def _check_features(source: Any, view: FeatureView) -> None:
    """Compare the features of a view with those of Feast.

    Raises:
        DefinitionError: if one is not there, or has another type.
    """
    fields = {field.name: field for field in source.features}
    for feature in view.features:
        if feature.name not in fields:
            raise DefinitionError(f"feature view {view.name!r} of the Feast repository has no feature {feature.name!r}")
        if not fits(fields[feature.name], feature.type):
            kind = fields[feature.name].dtype
            raise DefinitionError(f"feature {feature.name!r} of {view.name!r} is {kind} in Feast, not {feature.type}")


def _entity_values(texts: Sequence[str], type_: str) -> list[Any]:
    """Values of one join key; None for a text that is none."""
    if type_ == "string":
        return list(texts)
    return [int(text) if text.lstrip("-").isdecimal() else None for text in texts]


def _pack(view: _View, values: dict[str, list[Any]], times: Column) -> list[bytes | None]:
    """Packed rows of what Feast returned; None where it has no row, or only one that is too old."""
    columns, nulls = {}, {}
    strange = np.zeros(len(times), bool)
    for feature in view.layout.view.features:
        columns[feature.name], nulls[feature.name], unfit = column(values[f"{view.name}__{feature.name}"], feature.type)
        strange |= unfit
    missing = (times == np.datetime64(0, "us")) & np.logical_and.reduce(list(nulls.values()))
    if view.ttl is not None:
        missing |= times < np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us") - view.ttl
    rows = view.layout.pack(columns, times, nulls)
    return [
        None if gone else UNREADABLE if odd else row
        for row, gone, odd in zip(rows, missing.tolist(), strange.tolist(), strict=True)
    ]
