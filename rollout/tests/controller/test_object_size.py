"""How much memory an object takes."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgspec
import pytest

from tandem_rollout.controller.object_size import estimate_bytes

KINDS: list[Any] = [
    {"spec": [{} for _ in range(20_000)]},
    {"spec": {f"key-{number}": {"a": 1} for number in range(20_000)}},
    {"spec": ["x"] * 50_000},
    {"metadata": {"annotations": {"a": "x" * 1_000_000}}},
    {"spec": [[[] for _ in range(100)] for _ in range(300)]},
    {"spec": [1.5] * 100_000},
]


@pytest.mark.parametrize("value", KINDS, ids=range(len(KINDS)))
def test_it_is_no_less_than_half_of_what_is_allocated_and_no_more_than_four_times(value: Any) -> None:
    text = json.dumps(value).encode()
    tracemalloc.start()
    try:
        decoded = msgspec.json.decode(text)
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert allocated / 2 < estimate_bytes(decoded) < 4 * allocated


def test_any_depth_will_do() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    assert estimate_bytes(value) > 100_000
    while isinstance(value, list):  # or its destruction is as deep
        value = value.pop()
