"""Every event between the first and the last scrape of a target is counted once, or told; and nothing twice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.gather import gather
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading
from tandem_rollout.analysis.record import Record
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.analysis.window import (
    ROUTE_DELAY_S,
    CountWindow,
    begin_window,
    close_window,
    extend_window,
    possible_shares,
)
from tandem_rollout.api.analysis import Metric

EMPTY = Record(run=1, plan="p")
ERRORS = Metric(type="errors")
LATENCY = Metric(type="latency")
DRIFT = Metric(type="drift")
METRICS = (ERRORS, LATENCY, DRIFT)
EDGES = (0.1, math.inf)


@dataclass
class Target:
    """A process that counts, and is scraped at times of its own.

    Attributes:
        every: Seconds between its scrapes.
        shows: Codes whose series it has shown; a series appears with its first answer.
        answers: Answers since it began, by code.
        scraped: What the last scrape showed, and when; None before the first one.
        read: What the last reading had of it; None before the first one.
        true: Answers between the first scrape that was read and the last one, by code.
        since: Answers since its last scrape, which nobody sees if it ends now.
    """

    every: int
    answers: dict[str, float] = field(default_factory=dict)
    scraped: tuple[float, dict[str, float]] | None = None
    read: dict[str, float] | None = None
    true: dict[str, float] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)

    def answer(self, code: str, count: int) -> None:
        """Some answers; without any no series appears."""
        if count:
            self.answers[code] = self.answers.get(code, 0.0) + count
            self.since[code] = self.since.get(code, 0.0) + count

    def restart(self) -> bool:
        """What it has counted since its last scrape is lost with it. It does where its next scrape tells."""
        if self.scraped is None or self.read != self.scraped[1] or self.read.get("200", 0.0) < 10.0:
            return False
        self.answers, self.since = {}, {}
        return True

    def scrape(self, now: float, *, due: bool = False) -> None:
        """A scrape, if it is time."""
        if self.scraped is not None and not due and now < self.scraped[0] + self.every:
            return
        if self.read is not None:
            for code, count in self.since.items():
                self.true[code] = self.true.get(code, 0.0) + count
        self.scraped, self.since = (now, dict(self.answers)), {}

    @property
    def counters(self) -> Counters:
        """What was scraped last."""
        assert self.scraped is not None
        codes = self.scraped[1]
        return Counters(codes, {code: count for code, count in codes.items() if code.startswith("5")})

    @property
    def histogram(self) -> dict[str, dict[float, float]]:
        """The same as a histogram: errors are slow."""
        assert self.scraped is not None
        codes = self.scraped[1]
        total = math.fsum(codes.values())
        return {"": dict(zip(EDGES, (codes.get("200", 0.0), total), strict=True))}


STEP = st.tuples(
    st.sampled_from([0, 0, 0, 0, 5, 20, 50, 95]),  # a weight, or none
    st.sampled_from(["read", "read", "read", "absent", "unreadable", "partly"]),
    st.booleans(),  # whether a target restarts
    st.lists(st.integers(0, 9), min_size=8, max_size=8),
    st.integers(1, 12),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, min_size=3, max_size=25), st.lists(st.sampled_from([1, 5, 15, 40]), min_size=4, max_size=4))
def test_what_is_counted_and_what_is_told_are_all_that_happened(
    steps: list[tuple[int, str, bool, list[int], int]], every: list[int]
) -> None:
    targets = {name: Target(seconds) for name, seconds in zip(("c-0", "c-1", "s-0", "s-1"), every, strict=True)}
    record, windows, earlier, weight, now = EMPTY, dict[str, CountWindow](), dict[int, float](), 0, 0.0
    judged = {metric.full_name: [0.0, 0.0] for metric in METRICS}
    for change, how, restarts, answers, seconds in steps:
        # a few answers later a counter that was at ten or more has fallen, others may not have
        restarted = restarts and how in ("read", "partly") and targets["c-1"].restart()
        for place, target in enumerate(targets.values()):
            target.answer("200", answers[2 * place])
            target.answer("503", answers[2 * place + 1])
        if change and change != weight:
            earlier[weight], weight = now + ROUTE_DELAY_S, change
        now += seconds
        for name, target in targets.items():
            if name != "s-1" or now > 20:  # one appears late
                target.scrape(now, due=restarted and name == "c-1")
        readings = {metric.full_name: _reading(metric, targets, how) for metric in METRICS}
        windows = {
            name: extend_window(windows.get(name, CountWindow()), reading, now) for name, reading in readings.items()
        }
        record, windows = gather(METRICS, record, windows, now=now, weight=weight, earlier=earlier)
        for name, total in judged.items():
            sample = record.samples[-1]
            counts = sample.counts.get(name) or sample.reported.get(name) or (0.0, 0.0, 0.0, 0.0)
            total[0] += counts[0] + counts[2]
            total[1] += counts[1] + counts[3]
    # all targets are read once more, so that nothing is on its way
    readings = {metric.full_name: _reading(metric, targets, "read") for metric in METRICS}
    windows = {name: extend_window(windows[name], reading, now) for name, reading in readings.items()}
    true = sum(sum(target.true.values()) for target in targets.values())
    failed = sum(target.true.get("503", 0.0) for target in targets.values())
    for name, total in judged.items():
        requests, events = _left(windows[name])
        unplaced = record.metrics[name].unplaced
        assert total[0] + requests + unplaced[0] + unplaced[2] == true, name
        if name == "errors":
            assert total[1] + events + unplaced[1] + unplaced[3] == failed


def _reading(metric: Metric, targets: dict[str, Target], how: str) -> Reading:
    if how == "absent":
        return NoData("NoSeries", "no series")
    if how == "unreadable":
        return ProviderError("PrometheusUnreachable", "refused")
    there = {name: target for name, target in targets.items() if target.scraped and (how == "read" or name != "c-0")}
    for target in there.values():
        assert target.scraped is not None
        target.read = target.scraped[1]
    scraped = {name: target.scraped[0] for name, target in there.items() if target.scraped}
    arms = ({name: pod for name, pod in there.items() if name.startswith(arm)} for arm in ("s", "c"))
    if metric is ERRORS:
        stable, canary = ({name: pod.counters for name, pod in arm.items()} for arm in arms)
        return CounterReading(stable, canary, scraped=scraped)
    slow, ours = ({name: pod.histogram for name, pod in arm.items()} for arm in arms)
    return HistogramReading(slow, ours, scraped=scraped)


def _left(window: CountWindow) -> tuple[float, float]:
    """What the next tick will have."""
    requests = events = 0.0
    for arm in (window.canary, window.stable):
        values = [arm.unplaced, *arm.counted.values()]
        if window.binned:
            requests += sum(counts.get(math.inf, 0.0) for counts in values)
        else:
            requests += sum(count for counts in values for key, count in counts.items() if key[0] is False)  # type: ignore[index]
            events += sum(count for counts in values for key, count in counts.items() if key[0] is True)  # type: ignore[index]
    return requests, events


def counted(canary: float, stable: float, at: float = 0.0) -> CounterReading:
    """Requests of one target in each arm, scraped at a time."""
    arms = ({name: Counters({"r": count}, {})} for name, count in (("s", stable), ("c", canary)))
    return CounterReading(*arms, scraped={"s": at, "c": at})


def test_a_window_begins_with_the_oldest_scrape_that_something_is_counted_from() -> None:
    window = extend_window(CountWindow(), replace(counted(10.0, 10.0), scraped={"s": 3.0, "c": 5.0}), 6.0)
    assert window.begins == math.inf
    window = extend_window(window, replace(counted(11.0, 11.0), scraped={"s": 8.0, "c": 9.0}), 10.0)
    assert window.begins == 3.0
    assert close_window(window).begins == math.inf
    assert extend_window(close_window(window), counted(12.0, 11.0, 19.0), 20.0).begins == 9.0


def test_shares_are_open_until_every_scrape_is_of_after_the_change() -> None:
    window = extend_window(extend_window(CountWindow(), counted(0.0, 0.0, 5.0), 6.0), counted(4.0, 6.0, 15.0), 16.0)
    assert possible_shares(window, 50, {10: 4.0}).known
    assert possible_shares(window, 50, {10: 8.0}) == (0.1, 0.5)
    assert possible_shares(window, 5, {10: 8.0, 50: 6.0}) == (0.05, 0.5)


def test_an_event_whose_request_is_not_counted_yet_waits_for_it() -> None:
    window = CountWindow()
    for requests, events in ((10.0, 1.0), (12.0, 4.0), (20.0, 4.0)):
        both = {"pod": Counters({"all": requests}, {"500": events})}
        window = extend_window(window, CounterReading(both, both), requests)
        if requests == 12.0:
            assert (window.increments.canary_requests, window.increments.canary_events) == (2.0, 2.0)
            window = close_window(window)
    assert (window.increments.canary_requests, window.increments.canary_events) == (8.0, 1.0)


def test_a_series_that_is_gone_tells_of_a_restart() -> None:
    window = CountWindow()
    for codes in ({"200": 9.0, "500": 5.0}, {"200": 3.0}, {"200": 4.0, "500": 1.0}):
        both = {"pod": Counters(codes, {code: n for code, n in codes.items() if code == "500"})}
        window = extend_window(window, CounterReading(both, both), 0.0)
    assert (window.increments.canary_requests, window.increments.canary_events) == (5.0, 1.0)


def test_what_was_not_shown_before_can_be_taken_as_it_is() -> None:
    window = extend_window(CountWindow(), counted(0.0, 100.0), 0.0)
    named = CounterReading({"s": Counters({"r": 105.0}, {})}, {"c": Counters({"other": 70.0}, {})})
    window = begin_window(window, named, 1.0)
    more = CounterReading({"s": Counters({"r": 110.0}, {})}, {"c": Counters({"other": 72.0}, {})})
    window = extend_window(window, more, 2.0)
    assert (window.increments.canary_requests, window.increments.stable_requests) == (2.0, 10.0)
