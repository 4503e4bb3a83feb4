"""Rows to be predicted in every mode: as clients send them, as columns, and what is stored about their entities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from tandem.bundle import Bundle
from tandem.column_rules import refuse_rows
from tandem.contract import Contract
from tandem.dtypes import Column, Columns
from tandem.inputs import Inputs
from tandem.lookup import LookupPlan
from tandem.model import Model
from tandem.packed_rows import RowLayout, ViewColumns
from tandem.parity.unusual import with_unusual_values
from tandem.request_forms import rows_of
from tandem.rows import RowReader
from tandem.sampling import random_rows, random_views

MOST_ROUNDS: Final = 32
"""Golden rows are asked in at most so many samples: of an entity, a store has one row at a time."""

_MOST_ROWS: Final = 40
"""Rows of a request at most."""

Stored = dict[bytes, bytes]
"""What an online store has: packed rows by key."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows of one model, in each of the forms in which a mode takes them.

    Attributes:
        kind: ``golden`` or ``random``.
        numbers: The number of each row among the golden, or among all random rows.
        rows: The rows as JSON has them.
        inputs: The same as columns, with what is stored for each of them.
        stored: What is stored, by key.
        timed: Rows that say when they are asked about: ``bool``, shape ``(rows,)``.
        now: When the others are asked about, unless a mode reads the clock itself: ``datetime64[us]`` in UTC.
    """

    kind: str
    numbers: Column
    rows: list[dict[str, Any]]
    inputs: Inputs
    stored: Stored
    timed: Column
    now: np.datetime64

    def __len__(self) -> int:
        return len(self.rows)


def random_sample(model: Model, rows: int, rng: np.random.Generator, now: np.datetime64, *, first: int = 0) -> Sample:
    """Random rows, with random features of their entities: missing, outdated and null ones among them.

    Args:
        model: The model.
        rows: How many, at least one.
        rng: Source of randomness.
        now: The time, ``datetime64[us]`` in UTC.
        first: Number of its first row, of a sample that is one of several.
    """
    drawn = random_rows(model, rows, rng)
    _spread_keys(model.contract, drawn, rng)
    drawn = [with_unusual_values(model.contract, row, rng) for row in drawn]
    reader = RowReader(model.contract)
    request = reader.columns(msgspec.convert(drawn, list[reader.row_type]))  # type: ignore[name-defined]
    as_of = reader.as_of(request, now)
    inputs = Inputs(request, random_views(model, as_of, rng), as_of)
    return _sample("random", model, np.arange(first, first + rows), drawn, inputs, now)


def golden_samples(bundle: Bundle, now: np.datetime64) -> list[Sample]:
    """The golden rows of a bundle, without those that no client could send.

    Rows that are about one entity at several times are in several samples, at most :data:`MOST_ROUNDS`. Where a client
    does not say when a row is asked about, its stored values are as old now as they were in training.

    Args:
        bundle: The bundle.
        now: The time, ``datetime64[us]`` in UTC.
    """
    model = bundle.model
    inputs = bundle.golden_inputs().known_inputs
    allowed = np.setdiff1d(np.arange(len(inputs)), list(refuse_rows(model.contract, inputs.request, {})))
    inputs = _as_of_now(model.contract, inputs.take(allowed), now)
    samples = []
    for rows in _rounds(model, inputs):
        part = inputs.take(np.array(rows))
        samples.append(_sample("golden", model, allowed[rows], rows_of(model.contract, part.request), part, now))
    return samples


def split_rows(rows: int, alone: Collection[int], seed: int = 0) -> list[list[int]]:
    """Rows as requests of one to forty rows, in their order.

    Args:
        rows: How many there are.
        alone: Those that are requests of their own, since a row without an answer fails all of its request.
        seed: Of the sizes.
    """
    rng = np.random.default_rng(seed)
    shared = [row for row in range(rows) if row not in alone]
    requests = [[row] for row in sorted(alone)]
    start = 0
    while start < len(shared):
        size = int(rng.integers(1, _MOST_ROWS + 1)) if rng.random() < 0.7 else 1
        requests.append(shared[start : start + size])
        start += size
    return sorted(requests)


def _sample(
    kind: str, model: Model, numbers: Column, rows: list[dict[str, Any]], inputs: Inputs, now: np.datetime64
) -> Sample:
    stored = _pack(model, inputs)
    plan = LookupPlan(model.views)
    # as they are read back, since several rows may be about one entity
    views = plan.unpack([stored.get(key) for key in plan.keys(inputs.request)], len(inputs))
    rows_by_key = {key: row for key, row in stored.items() if row is not None}
    inputs = Inputs(inputs.request, views, inputs.as_of)
    return Sample(kind, numbers, rows, inputs, rows_by_key, _timed(model.contract, inputs.request, len(inputs)), now)


def _timed(contract: Contract, request: Columns, rows: int) -> Column:
    return np.zeros(rows, bool) if contract.as_of is None else ~np.isnat(request[contract.as_of])


def _spread_keys(contract: Contract, rows: Sequence[dict[str, Any]], rng: np.random.Generator) -> None:
    """Other values of the serving keys: about as many entities as there are rows, where the contract allows that."""
    for name, field in contract.serving_keys.items():
        if field.enum is not None or field.bounds:
            continue
        for row, number in zip(rows, rng.integers(len(rows), size=len(rows)).tolist(), strict=True):
            row[name] = f"{name}-{number}" if field.type == "string" else number


def _pack(model: Model, inputs: Inputs) -> dict[bytes, bytes | None]:
    """Packed rows by key, None for entities that are not stored; of several rows about an entity the first counts."""
    stored: dict[bytes, bytes | None] = {}
    for keys, packed in _packed(model, inputs):
        for key, row in zip(keys, packed, strict=True):
            stored.setdefault(key, row)
    return stored


def _packed(model: Model, inputs: Inputs) -> list[tuple[list[bytes], list[bytes | None]]]:
    """For each view the store key of each row, and what is stored there."""
    keys = LookupPlan(model.views).keys(inputs.request)
    count = len(inputs)
    parts = [keys[at * count : (at + 1) * count] for at in range(len(model.views))]
    return [
        (part, _packed_view(RowLayout(use.view), view))
        for part, use, view in zip(parts, model.views, inputs.views, strict=True)
    ]


def _packed_view(layout: RowLayout, view: ViewColumns) -> list[bytes | None]:
    places = np.flatnonzero(~np.isnat(view.event_time))
    packed: list[bytes | None] = [None] * len(view.event_time)
    part = view.take(places)
    for row, content in zip(places.tolist(), layout.pack(part.columns, part.event_time, part.nulls), strict=True):
        packed[row] = content
    return packed


def _as_of_now(contract: Contract, inputs: Inputs, now: np.datetime64) -> Inputs:
    """The same, with rows that do not say when they are asked about asked about now, and their features as old."""
    timed = _timed(contract, inputs.request, len(inputs))
    later = np.where(timed, np.timedelta64(0, "us"), now - inputs.as_of)
    views = tuple(ViewColumns(view.columns, view.event_time + later, view.nulls, view.outage) for view in inputs.views)
    return Inputs(inputs.request, views, inputs.as_of + later)


def _rounds(model: Model, inputs: Inputs) -> list[list[int]]:
    """Rows in groups, in each of which an entity has one row in each view."""
    rounds: list[tuple[dict[bytes, bytes | None], list[int]]] = []
    by_view = _packed(model, inputs)
    for row in range(len(inputs)):
        own = {keys[row]: packed[row] for keys, packed in by_view}
        for stored, rows in rounds:
            if all(stored.get(key, content) == content for key, content in own.items()):
                stored.update(own)
                rows.append(row)
                break
        else:
            if len(rounds) < MOST_ROUNDS:
                rounds.append((own, [row]))
    return [rows for _, rows in rounds]
