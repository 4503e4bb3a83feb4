from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest

from tandem.dtypes import Columns
from tandem.rows import Row, RowReader
from tandem_transformer.batch import BatchAnswer, Call, CallAnswer, merge

from . import world


@pytest.fixture
def reader() -> RowReader:
    return RowReader(world.model().contract)


def decoded(reader: RowReader, count: int, seed: int) -> list[Row]:
    return msgspec.convert(world.rows(count, seed), list[reader.row_type])  # type: ignore[name-defined]


def of_rows(rows: list[Row]) -> Call:
    return Call(len(rows), 0.0, asyncio.get_running_loop().create_future(), rows=rows)


def of_columns(columns: Columns) -> Call:
    return Call(len(columns["parts"]), 0.0, asyncio.get_running_loop().create_future(), columns=columns)


async def test_rows_and_columns_of_several_calls(reader: RowReader) -> None:
    parts = [decoded(reader, count, seed) for seed, count in enumerate((3, 1, 2, 4))]
    calls = [
        of_columns(reader.columns(parts[0])),
        of_rows(parts[1]),
        of_columns(reader.columns(parts[2])),
        of_rows(parts[3]),
    ]
    merged = merge(reader, calls)
    assert [call.size for call in calls] == [1, 4, 3, 2]
    expected = reader.columns([*parts[1], *parts[3], *parts[0], *parts[2]])
    assert merged.keys() == expected.keys()
    for name, column in expected.items():
        assert merged[name].dtype == column.dtype
        np.testing.assert_array_equal(merged[name], column)


async def test_one_call_with_columns_is_not_copied(reader: RowReader) -> None:
    columns = reader.columns(decoded(reader, 2, 0))
    assert merge(reader, [of_columns(columns)]) is columns


def test_an_answer_counts_degraded_rows_from_its_own_first_row() -> None:
    columns = {"minutes": np.arange(6.0)}
    batch = BatchAnswer(columns, {}, {0: {"a": "stale"}, 3: {"b": "missing"}, 5: {"c": "stale"}}, (0.0,) * 6)
    assert CallAnswer(batch, 0, 3).degraded == {0: {"a": "stale"}}
    assert CallAnswer(batch, 3, 5).degraded == {0: {"b": "missing"}}
    assert CallAnswer(batch, 1, 3).degraded == {}
    assert CallAnswer(BatchAnswer(columns, {}, {}, (0.0,) * 6), 1, 3).degraded == {}
