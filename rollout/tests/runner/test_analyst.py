"""What an analyst counts, and when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Readings
from tandem_rollout.analysis.record import Record
from tandem_rollout.analysis.verdict import ProviderError, Verdict
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.engine.run import Run, State
from tandem_rollout.runner.analyst import Analyst, Judgement
from tandem_rollout.sources import ArmLocation, Arms

ANALYSIS = Analysis(metrics=[Metric(type="errors")], interval="10s", warmup="0s")
RUN = Run(number=1, stable="a", canary="b", plan="p", state="Analyzing", started=0.0, since=0.0, weight=10)
ARMS = Arms(namespace="models", stable=ArmLocation(service="a"), canary=ArmLocation(service="b"))


class Scraped:
    """Counters that are seen as they were at the last scrape, each arm's at a time of its own.

    Args:
        every: Seconds between two scrapes.
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self.now = 0.0
        self.there = True
        self.read_at: list[float] = []
        self.asked = 0

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        def scrape(offset: float, rate: float) -> dict[str, Counters]:
            at = (self.now + offset) // self.every * self.every
            return {"pod": Counters({"all": 1000.0 + rate * at}, {})}

        self.read_at.append(self.now)
        if not self.there:
            return {metric.full_name: NoData("NoSeries", "there is no such series") for metric in metrics}
        return {metric.full_name: CounterReading(scrape(0.0, 90.0), scrape(self.every / 2, 10.0)) for metric in metrics}

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        self.asked += 1
        readings = await self.read(metrics, arms)
        self.read_at.pop()
        return [readings]

    async def close(self) -> None:
        pass


class Kept:
    """Records in memory."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self.times = 0

    async def load(self, run: int) -> Record | None:
        return self.records.get(run)

    async def keep(self, record: Record) -> None:
        self.records[record.run] = record
        self.times += 1


async def counted(every: float, seconds: float, store: Kept | None = None) -> Record:
    source = Scraped(every)
    analyst = Analyst(source, store or Kept())
    while source.now <= seconds:
        await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now)
        source.now += 1.0
    assert analyst.record is not None
    return analyst.record


async def test_counters_that_are_scraped_more_seldom_than_they_are_read_lose_nothing() -> None:
    for every in (5.0, 15.0, 30.0, 60.0):
        evidence = (await counted(every, 1200.0)).metrics["errors"].ratio
        assert evidence is not None
        assert evidence.canary_requests >= 10.0 * (1200.0 - 3 * every), every
        assert evidence.stable_requests >= 90.0 * (1200.0 - 3 * every), every


async def looked(
    analyst: Analyst, source: Scraped, weight: int, seconds: float, routed: int | None = None
) -> Judgement:
    """Looks of some seconds, each second one."""
    for _ in range(round(seconds)):
        run = replace(RUN, weight=weight, state="Analyzing" if weight else "Preparing")
        judgement = await analyst.take_sample(ANALYSIS, run, ARMS, source.now, routed=routed)
        source.now += 1.0
    return judgement


async def test_what_comes_while_the_weight_changes_is_counted_with_the_bounds_of_the_share() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    await looked(analyst, source, 10, 11)
    assert await looked(analyst, source, 20, 3) is not None
    assert analyst.record is not None
    assert not analyst.record.transitions
    await looked(analyst, source, 20, 20)
    (crossed,) = analyst.record.transitions
    # from the reading before the change until the route has followed, and no longer
    assert (crossed.low, crossed.high, crossed.at) == (0.1, 0.2, 14.0)
    assert crossed.counts["errors"][:3:2] == (40.0, 360.0)
    assert [sample.low for sample in analyst.record.samples] == [None, 0.1, None, None]
    ratio = analyst.record.metrics["errors"].ratio
    assert ratio is not None
    assert (ratio.canary_requests, ratio.samples) == (300.0, 4)


async def test_a_route_that_follows_late_keeps_the_share_open() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    await looked(analyst, source, 10, 11, routed=10)
    await looked(analyst, source, 20, 8, routed=10)
    await looked(analyst, source, 20, 30, routed=20)
    assert analyst.record is not None
    last = analyst.record.transitions[-1]
    # the route was last seen with the old weight at 18 s
    assert 18.0 < last.at <= 22.0
    assert {(sample.low, sample.high) for sample in analyst.record.transitions} == {(0.1, 0.2)}


async def test_a_route_that_somebody_else_holds_is_taken_as_it_is() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    await looked(analyst, source, 10, 11, routed=10)
    judgement = await looked(analyst, source, 20, 120, routed=10)
    assert judgement.samples_at_weight > 3


async def test_the_first_requests_of_a_canary_count() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    await looked(analyst, source, 0, 5)
    await analyst.read(ANALYSIS, replace(RUN, state="Preparing", weight=0), ARMS, source.now)
    await looked(analyst, source, 10, 30)
    assert analyst.record is not None
    assert analyst.record.transitions[0].low == 0.0
    ratio = analyst.record.metrics["errors"].ratio
    assert ratio is not None
    assert ratio.canary_requests == 10.0 * (analyst.record.samples[-1].at - 5.0)


async def test_a_reading_just_before_the_change_bounds_what_is_uncertain() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    await looked(analyst, source, 10, 18)
    await analyst.read(ANALYSIS, RUN, ARMS, source.now)
    await looked(analyst, source, 20, 20)
    assert analyst.record is not None
    (crossed,) = analyst.record.transitions
    # the reading was at 18 s, and the route had followed 3 s later
    assert crossed.counts["errors"][0] == 30.0


class Named(Scraped):
    """A proxy that counts by clusters, whose names others had before.

    Args:
        before: Requests that it has counted under each name before the run.
    """

    def __init__(self, before: float) -> None:
        super().__init__(1.0)
        self.before = before

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        return [await self.read(metrics, arms)]

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        def scrape(place: ArmLocation, rate: float) -> dict[str, Counters]:
            return {"envoy": Counters(dict.fromkeys(place.clusters, self.before + rate * self.now), {})}

        return {
            metric.full_name: CounterReading(scrape(arms.stable, 90.0), scrape(arms.canary, 10.0)) for metric in metrics
        }


async def test_what_a_proxy_counted_for_others_under_the_same_name_is_not_the_canarys() -> None:
    metrics = Analysis(metrics=[Metric(type="errors", where="gateway")], interval="10s", warmup="0s")
    source = Named(5000.0)
    analyst = Analyst(source, Kept())
    stable = ArmLocation(service="a", clusters=("rule/0",))
    preparing = replace(RUN, state="Preparing", weight=0)
    await analyst.read(
        metrics, preparing, Arms(namespace="models", stable=stable, canary=ArmLocation(service="b")), 0.0
    )
    arms = Arms(namespace="models", stable=stable, canary=ArmLocation(service="b", clusters=("rule/1",)))
    for _ in range(31):
        source.now += 1.0
        await analyst.take_sample(metrics, RUN, arms, source.now)
    assert analyst.record is not None
    ratio = analyst.record.metrics["errors"].ratio
    assert ratio is not None
    assert 250.0 <= ratio.canary_requests <= 310.0
    assert ratio.stable_requests == 9.0 * (ratio.canary_requests + 10.0)


async def test_another_process_goes_on_from_what_was_kept() -> None:
    store = Kept()
    first = await counted(1.0, 100.0, store)
    second = await counted(1.0, 100.0, store)
    assert (first.sample_count, second.sample_count) == (10, 20)


async def test_the_evidence_of_another_plan_is_not_taken() -> None:
    store = Kept()
    store.records[1] = Record(run=1, plan="another", sample_count=7)
    assert (await counted(1.0, 100.0, store)).sample_count == 10


class Timing(Scraped):
    """Histograms of latencies."""

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        def histogram(rate: float) -> dict[str, dict[str, dict[float, float]]]:
            total = 100_000.0 + rate * self.now
            return {"pod": {"": {0.1: 0.95 * total, 0.2: 0.99 * total, math.inf: total}}}

        counted = await super().read(metrics, arms)
        timed = HistogramReading(histogram(90.0), histogram(10.0))
        return {
            metric.full_name: timed if metric.type == "latency" else counted[metric.full_name] for metric in metrics
        }


BOTH = [Metric(type="errors"), Metric(type="latency")]


async def test_latencies_of_the_warm_up_are_reported_and_not_judged() -> None:
    source = Timing(1.0)
    analyst = Analyst(source, Kept())
    warm = Analysis(metrics=BOTH, interval="10s", warmup="60s")
    for _ in range(10):
        judgement = await analyst.take_sample(warm, RUN, ARMS, source.now)
        source.now += 10.0
    assert analyst.record is not None
    # the tick that begins before the end of the warm-up has requests of it
    assert [sorted(sample.reported) for sample in analyst.record.samples] == [["latency"]] * 6 + [[]] * 3
    errors, latency = judgement.results
    assert errors.canary_requests == 900.0
    assert latency.canary_requests == 300.0


async def test_a_tick_that_is_longer_than_the_warm_up_does_not_judge_its_latencies() -> None:
    source = Timing(1.0)
    analyst = Analyst(source, Kept())
    seldom = Analysis(metrics=BOTH, interval="60s", warmup="15s")
    for _ in range(3):
        await analyst.take_sample(seldom, RUN, ARMS, source.now)
        source.now += 60.0
    assert analyst.record is not None
    assert [sorted(sample.reported) for sample in analyst.record.samples] == [["latency"], []]


async def test_a_canary_that_has_everything_needs_no_warm_up() -> None:
    source = Timing(1.0)
    analyst = Analyst(source, Kept())
    cold = Analysis(metrics=BOTH, interval="10s", warmup="1h")
    for _ in range(2):
        await analyst.take_sample(cold, replace(RUN, state="Baking", weight=100), ARMS, source.now)
        source.now += 10.0
    assert analyst.record is not None
    assert not analyst.record.transitions
    assert analyst.record.sample_count == 1


async def test_it_says_when_to_come_again() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    assert analyst.due == math.inf
    source.now = 1000.0
    await analyst.take_sample(ANALYSIS, replace(RUN, state="Preparing", weight=0), ARMS, source.now)
    # before the first weight there is nothing to look at, and the first weight is looked at when it is there
    assert analyst.due > source.now
    await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now + 1.0)
    # when the route has followed
    assert analyst.due == 1004.0
    await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now + 2.0)
    assert analyst.due == 1004.0
    await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now + 4.0)
    # and then in turn
    assert analyst.due == 1011.0
    await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now + 11.0)
    assert analyst.due == 1021.0


@pytest.mark.parametrize("state", ["Aborting", "Aborted", "Promoted"])
async def test_nothing_is_looked_at_on_the_way_back_or_after_the_end(state: State) -> None:
    analyst = Analyst(Scraped(1.0), Kept())
    await analyst.take_sample(ANALYSIS, RUN, ARMS, 0.0)
    await analyst.note(replace(RUN, state=state), 5.0)
    assert analyst.due == math.inf


async def test_counters_are_read_once_an_interval_however_often_somebody_asks() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    for _ in range(101):
        await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now)
        source.now += 1.0
    assert source.read_at == [float(at) for at in range(0, 101, 10)]


async def test_a_clock_that_was_set_back_stops_nothing() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    await analyst.take_sample(ANALYSIS, RUN, ARMS, 1e6)
    for source.now in range(0, 60, 5):
        await analyst.take_sample(ANALYSIS, RUN, ARMS, 5e5 + source.now)
    assert len(source.read_at) == 7
    assert analyst.record is not None
    assert analyst.record.sample_count > 0


async def test_what_was_not_looked_at_says_nothing() -> None:
    """Also where a metric without data is to fail: there was no look that could have brought any."""
    strict = Analysis(metrics=[Metric(type="latency", no_data="fail")], interval="10s", warmup="60s")
    source = Timing(1.0)
    analyst = Analyst(source, Kept())
    decisions = []
    for _ in range(9):
        decisions.append((await analyst.take_sample(strict, RUN, ARMS, source.now)).decision)
        source.now += 10.0
    assert decisions[0] is None
    assert [decision.verdict for decision in decisions[1:7] if decision] == [Verdict.NO_DATA] * 6
    assert decisions[8] is not None
    assert decisions[8].verdict is Verdict.PASS


async def test_a_metric_that_is_not_there_fails_where_that_is_wanted() -> None:
    strict = Analysis(metrics=[Metric(type="errors", no_data="fail")], interval="10s", warmup="0s")
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    source.there = False
    await analyst.take_sample(strict, RUN, ARMS, 0.0)
    sample = await analyst.take_sample(strict, RUN, ARMS, 10.0)
    assert sample.decision is not None
    assert sample.decision.verdict is Verdict.FAIL


async def test_counters_that_are_scraped_seldom_are_no_missing_metric() -> None:
    strict = Analysis(metrics=[Metric(type="errors", no_data="fail")], interval="10s", warmup="0s")
    source = Scraped(45.0)
    analyst = Analyst(source, Kept())
    while source.now < 300.0:
        sample = await analyst.take_sample(strict, RUN, ARMS, source.now)
        assert sample.decision is None or sample.decision.verdict is not Verdict.FAIL
        source.now += 10.0


async def test_looks_are_those_at_the_present_weight() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    looks = [(await looked(analyst, source, 10, 1)).samples_at_weight]
    looks += [(await looked(analyst, source, weight, 10)).samples_at_weight for weight in (10, 10, 20, 20, 20)]
    # of the ten seconds after the change the first three are shared out by either weight, and no look at the new one
    assert looks == [0, 1, 2, 1, 2, 3]


async def test_the_part_that_the_canary_had_is_measured() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    assert (await analyst.take_sample(ANALYSIS, RUN, ARMS, 0.0)).measured is None
    source.now = 10.0
    assert (await analyst.take_sample(ANALYSIS, RUN, ARMS, 10.0)).measured == 10.0


async def test_nothing_is_kept_where_there_is_nothing_new() -> None:
    store = Kept()
    source = Scraped(1.0)
    analyst = Analyst(source, store)
    for _ in range(10):
        await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now)
    assert store.times == 1
    await analyst.keep()
    assert store.times == 1
    await analyst.note(RUN, 1.0)
    await analyst.keep()
    await analyst.note(RUN, 2.0)
    await analyst.keep()
    assert store.times == 2


async def test_the_evidence_of_a_run_of_the_same_number_at_another_time_is_not_taken() -> None:
    """As when a rollout comes back from a backup without its status, or is deleted and made again."""
    store = Kept()
    await counted(1.0, 100.0, store)
    again = replace(RUN, started=5000.0)
    for analyst in (Analyst(Scraped(1.0), store), Analyst(Scraped(1.0), store)):
        await analyst.take_sample(ANALYSIS, again, ARMS, 5000.0)
        assert analyst.record is not None
        assert analyst.record.sample_count == 0
    # nor by the one that has gathered it
    analyst = Analyst(Scraped(1.0), Kept())
    await analyst.note(RUN, 0.0)
    await analyst.note(replace(again, plan="q"), 5000.0)
    assert analyst.record is not None
    assert [note.at for note in analyst.record.notes] == [5000.0]


async def test_a_restart_within_a_second_goes_on() -> None:
    """What is written down has whole seconds."""
    store = Kept()
    first = Analyst(Scraped(1.0), store)
    await first.note(replace(RUN, started=7.9), 7.9)
    await first.keep()
    second = Analyst(Scraped(1.0), store)
    await second.note(replace(RUN, started=7.0, state="AwaitingApproval"), 8.0)
    assert second.record is not None
    assert [note.state for note in second.record.notes] == ["Analyzing", "AwaitingApproval"]


async def test_a_process_that_goes_on_judges_as_the_one_before() -> None:
    store = Kept()
    source = Scraped(1.0)
    first = Analyst(source, store)
    for _ in range(20):
        sample = await first.take_sample(ANALYSIS, RUN, ARMS, source.now)
        source.now += 10.0
    second = Analyst(source, store)
    assert await second.take_sample(ANALYSIS, RUN, ARMS, source.now) == sample


@pytest.mark.parametrize(("share", "verdict"), [(None, Verdict.NO_DATA), (0.1, Verdict.PASS), (0.2, Verdict.FAIL)])
async def test_units_of_an_ab_test_are_held_against_the_share_that_was_written(
    share: float | None, verdict: Verdict
) -> None:
    """The run has no weight of its own there."""
    units = Analysis(metrics=[Metric(type="assignment", requests="units")], interval="10s", warmup="0s")
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    for _ in range(100):
        sample = await analyst.take_sample(
            units, replace(RUN, state="Observing", weight=0), replace(ARMS, share=share), source.now
        )
        source.now += 10.0
    assert sample.results[0].verdict is verdict


async def test_history_is_asked_for_once() -> None:
    store = Kept()
    source = Scraped(1.0)
    for _ in range(3):
        analyst = Analyst(source, store)
        await analyst.take_sample(ANALYSIS, replace(RUN, state="Preparing", weight=0), ARMS, 0.0)
        await analyst.take_sample(ANALYSIS, RUN, ARMS, 10.0)
    assert source.asked == 1


class Unread(Scraped):
    """A Prometheus whose past cannot be read at first.

    Args:
        until: When that is over.
    """

    def __init__(self, until: float) -> None:
        super().__init__(1.0)
        self.until = until

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        if self.now < self.until:
            self.asked += 1
            return [
                {metric.full_name: ProviderError("PrometheusUnreachable", "connection refused") for metric in metrics}
            ]
        return await super().history(metrics, arms, seconds=seconds, step=step)


async def test_a_past_that_cannot_be_read_is_asked_for_again_once_an_interval() -> None:
    source = Unread(until=100.0)
    analyst = Analyst(source, Kept())
    preparing = replace(RUN, state="Preparing", weight=0)
    while source.now < 100.0:
        sample = await analyst.take_sample(ANALYSIS, preparing, ARMS, source.now)
        assert "dispersion was not measured before the run: connection refused" in sample.results[0].message
        source.now += 2.0
    assert source.asked == 10
    await analyst.take_sample(ANALYSIS, preparing, ARMS, source.now)
    sample = await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now + 2.0)
    assert source.asked == 11
    assert "dispersion" not in sample.results[0].message


async def test_a_past_that_stays_unread_is_given_up_when_something_is_counted_and_that_is_said() -> None:
    source = Unread(until=math.inf)
    analyst = Analyst(source, Kept())
    for _ in range(20):
        sample = await analyst.take_sample(ANALYSIS, RUN, ARMS, source.now)
        source.now += 10.0
    assert source.asked == 2
    assert sample.results[0].message == "dispersion was not measured before the run: connection refused"
    assert sample.results[0].canary_requests > 0


class ByTraffic(Scraped):
    """A pod whose canary has answered many requests that the weights sent in an earlier run, and few of its preview."""

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        return [await self.read(metrics, arms)]

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        def slow(series: str, total: float) -> dict[str, dict[str, dict[float, float]]]:
            return {"pod": {series: {0.1: 0.9 * total, math.inf: total}}}

        traffic, at = arms.canary.traffic, self.now // self.every * self.every
        canary = {"weighted": 5000.0, "preview": 0.0}[traffic] + 10.0 * at
        return {
            "errors-in-pods": CounterReading(
                {"pod": Counters({"all": 90.0 * at}, {})}, {"pod": Counters({traffic: canary}, {})}
            ),
            "latency": HistogramReading(slow("all", 90.0 * at), slow(traffic, canary)),
        }


async def test_what_was_counted_of_other_traffic_before_is_no_evidence_after_the_switch() -> None:
    """Pods have served before: what the weights sent them then says nothing about this run."""
    source, store = ByTraffic(1.0), Kept()
    analyst = Analyst(source, store)
    both = [Metric(type="errors", where="pods"), Metric(type="latency")]
    analysis = Analysis(metrics=both, interval="10s", warmup="0s")
    for second in range(60):
        traffic, weight = ("preview", 0) if second < 30 else ("weighted", 100)
        arms = replace(ARMS, canary=replace(ARMS.canary, traffic=traffic))
        await analyst.take_sample(analysis, replace(RUN, weight=weight), arms, source.now)
        source.now += 1.0
    assert analyst.record is not None
    for metric in both:
        samples = [{**sample.reported, **sample.counts} for sample in analyst.record.samples]
        requests = [counts[metric.full_name][0] for counts in samples if metric.full_name in counts]
        assert len(requests) >= 4
        assert max(requests) <= 10.0 * 20, metric.full_name
