from __future__ import annotations

from typing import Any

import numpy as np


def test_reading_goes_on_after_the_last_record_of_each_partition(records_of: Any) -> None:
    assert records_of([b""] * 5).ends() == {0: 3, 1: 102}


def test_records_of_a_partition_can_be_left_out(records_of: Any) -> None:
    rest = records_of([b"a", b"b", b"c", b"d"]).without(frozenset({0}))
    assert (rest.values, rest.keys, rest.offsets) == ([b"b", b"d"], [b"k1", b"k3"], [100, 101])
    assert rest.place(1) == "rides/1/101"
    assert len(rest.timestamps) == len(rest) == 2


def test_a_time_that_is_not_known_is_now(records_of: Any) -> None:
    now = np.datetime64("2026-05-01T08:00:00.000001", "us")
    assert (records_of([b""], timestamp=-1).times(now) == now).all()
    assert records_of([b""], timestamp=1000).times(now)[0] == np.datetime64("1970-01-01T00:00:01", "us")
