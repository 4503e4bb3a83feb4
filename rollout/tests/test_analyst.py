"""What an analyst counts, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tandem_rollout.analysis.counts import Counters
from tandem_rollout.analysis.reading import Counted, Readings
from tandem_rollout.analysis.record import Record
from tandem_rollout.analyst import Analyst
from tandem_rollout.engine.run import Run
from tandem_rollout.gates import Analysis, Metric
from tandem_rollout.sources import Arms, Place

ANALYSIS = Analysis(metrics=[Metric(type="errors")], interval="10s", warmup="0s")
RUN = Run(number=1, stable="a", canary="b", plan="p", state="Analysing", started=0.0, since=0.0, weight=10)
ARMS = Arms(namespace="models", stable=Place(service="a"), canary=Place(service="b"))


class Scraped:
    """Counters that are seen as they were at the last scrape, each arm's at a time of its own.

    Args:
        every: Seconds between two scrapes.
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self.now = 0.0

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        def scrape(offset: float, rate: float) -> dict[str, Counters]:
            at = (self.now + offset) // self.every * self.every
            return {"pod": Counters({"all": 1000.0 + rate * at}, {})}

        return {metric.called: Counted(scrape(0.0, 90.0), scrape(self.every / 2, 10.0)) for metric in metrics}

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        return [await self.read(metrics, arms)]

    async def close(self) -> None:
        pass


class Kept:
    """Records in memory."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}

    async def load(self, run: int) -> Record | None:
        return self.records.get(run)

    async def keep(self, record: Record) -> None:
        self.records[record.run] = record


async def counted(every: float, seconds: float, kept: Kept | None = None) -> Record:
    source = Scraped(every)
    analyst = Analyst(source, kept or Kept())
    while source.now <= seconds:
        await analyst.look(ANALYSIS, RUN, ARMS, source.now)
        source.now += 1.0
    assert analyst.record is not None
    return analyst.record


async def test_counters_that_are_scraped_more_seldom_than_they_are_read_lose_nothing() -> None:
    for every in (5.0, 15.0, 30.0, 60.0):
        evidence = (await counted(every, 1200.0)).metrics["errors"].ratio
        assert evidence is not None
        assert evidence.canary_requests >= 10.0 * (1200.0 - 3 * every), every
        assert evidence.stable_requests >= 90.0 * (1200.0 - 3 * every), every


async def test_a_tick_across_a_change_of_weights_is_not_counted() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    for run in (RUN, replace(RUN, weight=20), replace(RUN, weight=30)):
        judgement = await analyst.look(ANALYSIS, run, ARMS, source.now)
        source.now += 10.0
        assert judgement.looks == 0
    judgement = await analyst.look(ANALYSIS, replace(RUN, weight=30), ARMS, source.now)
    assert judgement.looks == 1


async def test_another_process_goes_on_from_what_was_kept() -> None:
    kept = Kept()
    first = await counted(1.0, 100.0, kept)
    second = await counted(1.0, 100.0, kept)
    assert (first.ticks, second.ticks) == (10, 20)


async def test_the_evidence_of_another_plan_is_not_taken() -> None:
    kept = Kept()
    kept.records[1] = Record(run=1, plan="another", ticks=7)
    assert (await counted(1.0, 100.0, kept)).ticks == 10


async def test_nothing_is_counted_while_the_canary_is_warming_up() -> None:
    source = Scraped(1.0)
    analyst = Analyst(source, Kept())
    warm = Analysis(metrics=[Metric(type="errors")], interval="10s", warmup="60s")
    ticks = []
    for _ in range(10):
        await analyst.look(warm, RUN, ARMS, source.now)
        ticks.append(analyst.record.ticks if analyst.record else 0)
        source.now += 10.0
    assert ticks == [0, 0, 0, 0, 0, 0, 1, 2, 3, 4]
