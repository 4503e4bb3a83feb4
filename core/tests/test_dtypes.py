from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from tandem.dtypes import naive_utc, parse_timestamp


def test_timestamps_are_taken_to_utc_with_microseconds() -> None:
    assert parse_timestamp("2026-05-01T08:00:00.123456789-01:00") == np.datetime64("2026-05-01T09:00:00.123457")
    assert parse_timestamp("2026-02-30T08:00:00Z") is None
    assert parse_timestamp("yesterday") is None


def test_zone_beyond_the_first_day_does_no_harm() -> None:
    assert parse_timestamp("0001-01-01T00:00:00+23:59") == np.datetime64("0001-01-01T00:00:00")
    assert naive_utc(datetime.max.replace(tzinfo=UTC)) == datetime.max
