"""What the log scenarios of the fault tests count as lost."""

from __future__ import annotations

import numpy as np
from benchmarks.chaos.client import Sample
from benchmarks.chaos.records import LoggedRecords, compare
from benchmarks.chaos.scenarios import Scenario
from benchmarks.chaos.verdict import Measured, is_sustained, judge


async def nothing(_: object) -> None:
    """A fault that is none."""


def failures(records: LoggedRecords) -> list[str]:
    samples = [Sample(float(at), 1.0, "ok", prediction_id=f"a-{at}") for at in range(3)]
    rss_mb = [(float(at), 100.0) for at in np.arange(3)]
    return judge(Scenario("x", nothing, log="durable"), Measured(1.0, 0.0, 1.0, samples, rss_mb, [], records)).failures


def test_what_is_missing_and_not_counted_is_lost() -> None:
    acknowledged = ["a-1", "a-2", "a-3"]
    logged = {"a-1": 1, "a-2": 1, "a-9": 1}
    assert compare(acknowledged, logged, 0) == LoggedRecords(3, missing=1, counted=0, repeated=0)
    assert [compare(acknowledged, logged, counted).lost for counted in (0, 1, 2)] == [1, 0, 0]
    assert failures(compare(acknowledged, logged, 0)) == ["1 records lost"]
    assert failures(compare(acknowledged, logged, 1)) == []


def test_what_is_there_twice_fails() -> None:
    records = compare(["a-1"], {"a-1": 3}, 0)
    assert (records.lost, records.repeated) == (0, 2)
    assert failures(records) == ["2 records repeated"]


def test_a_rate_is_sustained_if_one_request_in_a_thousand_is_late_or_refused() -> None:
    in_time = [Sample(0.0, 240.0, outcome) for outcome in ("ok", "degraded") for _ in range(1000)]
    for other in (Sample(0.0, 260.0, "ok"), Sample(0.0, 1.0, "overloaded"), Sample(0.0, 5000.0, "unanswered")):
        assert is_sustained([*in_time, other, other])
        assert not is_sustained([*in_time, other, other, other])
