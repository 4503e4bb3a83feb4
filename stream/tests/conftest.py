from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from transformer.tests.conftest import bundle

from tandem_stream.records import Header, Records

__all__ = ["bundle", "records_of"]


@pytest.fixture(scope="session", name="records_of")
def records_of_values() -> Any:
    return records_of


def records_of(
    values: Sequence[bytes | None], headers: Sequence[Header] = (), timestamp: int = 1_777_600_000_000
) -> Records:
    """Records of two partitions in turn, the offset of each a hundred times its partition more than its number."""
    count = len(values)
    return Records(
        "rides",
        values,
        [f"k{number}".encode() for number in range(count)],
        [headers] * count,
        [number % 2 for number in range(count)],
        [number // 2 + 100 * (number % 2) for number in range(count)],
        np.full(count, timestamp, np.int64),
    )
