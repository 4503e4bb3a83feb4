"""What a fault did to clients, from the samples of the requests around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.chaos.client import Sample
from benchmarks.chaos.records import LoggedRecords
from benchmarks.chaos.scenarios import Scenario

DEADLINE_MS: Final = 250.0
"""That every request brings."""

_RESERVE_MS: Final = 20.0
_RECOVERY_S: Final = 2.0
_TAIL: Final = 0.999
_ANSWERS: Final = ("ok", "degraded")


@dataclass(frozen=True)
class Measured:
    """A scenario under load.

    Attributes:
        per_second: Requests.
        begin: When the fault began, in seconds of the monotonic clock.
        end: When it was undone, and every part was ready.
        samples: Requests, also before and after.
        rss_mb: Time and memory of the transformer.
        health_ms: Milliseconds of its answers to liveness probes.
        records: What has become of the records of its predictions.
    """

    per_second: float
    begin: float
    end: float
    samples: Sequence[Sample]
    rss_mb: Sequence[tuple[float, float]]
    health_ms: Sequence[float]
    records: LoggedRecords


@dataclass(frozen=True)
class Verdict:
    """What a scenario came to.

    Attributes:
        outcomes: Requests by outcome.
        undocumented: Answers that are not documented.
        late: Answers later than the deadline and 20 ms.
        p999_ms: 99.9th percentile of the time to an answer.
        recovery_s: From the end of the fault to the last request that was due after it and not answered as before.
        slope_mb_per_minute: Of the transformer's memory.
        failures: Why it did not pass; empty if it did.
    """

    outcomes: Counter[str]
    undocumented: int
    late: int
    p999_ms: float
    recovery_s: float
    slope_mb_per_minute: float
    failures: list[str]


def is_sustained(samples: Sequence[Sample]) -> bool:
    """Whether at least 99.9 % of the requests were answered with a prediction by their deadline."""
    in_time = sum(sample.outcome in _ANSWERS and sample.ms <= DEADLINE_MS for sample in samples)
    return in_time >= _TAIL * len(samples)


def judge(scenario: Scenario, measured: Measured) -> Verdict:
    """Hold a scenario's samples against what it allows."""
    samples, records = measured.samples, measured.records
    outcomes = Counter(sample.outcome for sample in samples)
    latencies = [sample.ms for sample in samples if sample.outcome != "unanswered"]
    limit = DEADLINE_MS + _RESERVE_MS
    undocumented = sum(not sample.documented for sample in samples)
    late = sum(ms > limit for ms in latencies)
    p999_ms = float(np.quantile(latencies, _TAIL))
    restored = _ANSWERS if scenario.stays_degraded else _ANSWERS[:1]
    after = [sample.at - measured.end for sample in samples if sample.outcome not in restored]
    recovery_s = max([0.0, *after])
    refused = sum(count for outcome, count in outcomes.items() if outcome not in _ANSWERS)
    failures = {
        f"{undocumented} undocumented": undocumented > 0,
        f"{refused} without a prediction": scenario.answered and refused > 0,
        f"p99.9 of {p999_ms:.0f} ms": scenario.answered and p999_ms > limit,
        f"{outcomes['unanswered']} unanswered": outcomes["unanswered"] > 0 and not scenario.unanswered,
        f"recovery in {recovery_s:.1f} s": recovery_s > _RECOVERY_S,
        f"{records.lost} records lost": records.lost > 0,
        f"{records.repeated} records repeated": records.repeated > 0,
    }
    return Verdict(
        outcomes,
        undocumented,
        late,
        p999_ms,
        recovery_s,
        _slope(measured.rss_mb),
        [failure for failure, holds in failures.items() if holds],
    )


def _slope(rss_mb: Sequence[tuple[float, float]]) -> float:
    """Growth per minute, by least squares."""
    times, sizes = np.array(rss_mb).T
    return 60.0 * float(np.polyfit(times, sizes, 1)[0])
