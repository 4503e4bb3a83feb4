"""From readings to evidence: one tick of all metrics."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tandem_rollout.analysis import drift, latency, ratio, sequential
from tandem_rollout.analysis.absolute import absolute
from tandem_rollout.analysis.counts import Counters, NoData, Scrape, Tick, increase, tick
from tandem_rollout.analysis.dispersion import Dispersion, dispersion
from tandem_rollout.analysis.reading import Binned, Counted, Histograms, Reading, Readings
from tandem_rollout.analysis.record import MOST_SAMPLES, Gathered, Record, Sample
from tandem_rollout.analysis.sequential import RatioTest
from tandem_rollout.analysis.verdict import ProviderError, Trouble
from tandem_rollout.gates import Metric

Counts = tuple[float, float, float, float]

_UNREAD = NoData("nothing was read before")
_CHOSEN = NoData("its limit has just been chosen from stable's requests: what is slow is counted from now on")
_NO_ROWS = NoData("one of the two made no predictions")
_QUIET = {arm: NoData(f"{arm} answered no request") for arm in ("the canary", "stable")}

QUIET = frozenset({_NO_ROWS.reason, *(each.reason for each in _QUIET.values())})
"""Troubles that time alone ends: where counters are read more often than they are scraped, only one arm has moved."""


def ratio_test(metric: Metric, phi: float = 1.0) -> RatioTest:
    """The test of a metric."""
    return RatioTest(metric.margin, metric.tolerated, metric.alpha, metric.beta, phi)


def prepare(
    metrics: Sequence[Metric], record: Record, history: Sequence[Readings], *, dispersion_given: float | None = None
) -> Record:
    """What is frozen before the canary has weight: limits of latency, and how bursty events are.

    Args:
        metrics: The metrics.
        record: The record so far.
        history: Readings of the time before, in order, the last one of now. One is enough for limits of latency: they
            are then taken from all that the pods have counted.
        dispersion_given: Dispersion, where the spec has it.

    Returns:
        The record; it is not prepared where the time before could not be read, so that it is tried again.
    """
    made = {}
    for metric in metrics:
        gathered = record.metrics.get(metric.called, Gathered())
        troubles = [each for readings in history if isinstance(each := readings.get(metric.called), ProviderError)]
        own = [each for readings in history if isinstance(each := readings.get(metric.called), Counted | Binned)]
        if metric.type == "latency" and gathered.limit is None:
            gathered = _with_limit(metric, gathered, [each for each in own if isinstance(each, Binned)])
        if dispersion_given is not None:
            gathered = msgspec.structs.replace(gathered, phi=dispersion_given)
        elif metric.type != "drift":
            scrapes = [scrape for each in own if (scrape := _stable(each, gathered.limit)) is not None]
            measured = dispersion(against_itself(scrapes))
            if isinstance(measured, Dispersion):
                gathered, troubles = msgspec.structs.replace(gathered, phi=measured.phi), []
        # of drift nothing is frozen, and where all is given or frozen already nothing is missing
        frozen = dispersion_given is not None and (metric.type != "latency" or gathered.limit is not None)
        unmeasured = "" if metric.type == "drift" or frozen or not troubles else troubles[0].reason
        made[metric.called] = msgspec.structs.replace(gathered, unmeasured=unmeasured)
    prepared = not any(each.unmeasured for each in made.values())
    return msgspec.structs.replace(record, metrics=made, prepared=prepared)


def against_itself(scrapes: Sequence[Scrape]) -> list[Tick]:
    """Ticks of stable against itself: its first target in the canary's place. None where it has one target only."""
    ticks = []
    for earlier, later in itertools.pairwise(scrapes):
        targets = sorted(later)
        if len(targets) < 2:
            continue
        first = {target: later[target] for target in targets[:1]}
        others = {target: later[target] for target in targets[1:]}
        found = tick(canary=(earlier, first), stable=(earlier, others))
        if isinstance(found, Tick):
            ticks.append(found)
    return ticks


def gather(
    metrics: Sequence[Metric],
    record: Record,
    before: Readings | None,
    after: Readings,
    *,
    now: float,
    weight: int,
    share: float | None = None,
    baking: bool = False,
) -> Record:
    """The record with one more tick.

    Args:
        metrics: The metrics.
        record: The record so far.
        before: What was read when the tick began; None where nothing was.
        after: What is read now.
        now: Seconds since the epoch.
        weight: The canary's percentage during the tick.
        share: Share of the units that should have fallen on the canary; by default as the weight says.
        baking: Whether the canary is promoted, and what it is compared with is held back.
    """
    expected = weight / 100.0 if share is None else share
    made: dict[str, Gathered] = {}
    counts: dict[str, Counts] = {}
    for metric in metrics:
        name = metric.called
        gathered = record.metrics.get(name, Gathered())
        earlier = before.get(name, _UNREAD) if before is not None else _UNREAD
        later = after.get(name, NoData("nothing was read"))
        if metric.type == "latency" and gathered.frozen is None and isinstance(earlier, Binned):
            gathered = _with_limit(metric, gathered, [earlier])
        made[name], found = _one(metric, gathered, earlier, later, expected, alone=weight >= 100, baking=baking)
        if found is not None:
            counts[name] = found
    looked = bool(counts)
    same = weight == record.weight
    return msgspec.structs.replace(
        record,
        looks=(record.looks if same else 0) + looked,
        ticks=record.ticks + looked,
        weight=weight,
        metrics=made,
        samples=(*record.samples, Sample(now, weight, counts))[-MOST_SAMPLES:],
    )


def _one(
    metric: Metric, gathered: Gathered, before: Reading, after: Reading, share: float, *, alone: bool, baking: bool
) -> tuple[Gathered, Counts | None]:
    """Evidence of one metric after a tick, and what was counted in it."""
    if alone and metric.type in ("drift", "assignment"):
        return gathered, None  # there is nobody to compare with
    for each in (after, before):
        if isinstance(each, NoData | ProviderError):
            return _troubled(gathered, each), None
    if metric.type == "drift":
        return _drifted(gathered, before, after)
    if metric.type == "assignment":
        return _assigned(gathered, before, after, share)
    if not (isinstance(before, Counted) and isinstance(after, Counted)):
        if not (isinstance(before, Binned) and isinstance(after, Binned)):
            return _troubled(gathered, _UNREAD), None
        return _timed(metric, gathered, before, after, alone=alone, baking=baking)
    return _rated(metric, gathered, before, after, alone=alone, baking=baking)


def _timed(
    metric: Metric, gathered: Gathered, before: Binned, after: Binned, *, alone: bool, baking: bool
) -> tuple[Gathered, Counts | None]:
    """Evidence of a tick of latencies: at the limit that the ticks before it say."""
    held, own = alone or baking, latency.choose(gathered.recent, metric.quantile, metric.slowdown)
    chosen = own if isinstance(own, latency.Limit) else None
    limit = latency.longest(gathered.frozen, gathered.limit) if held else chosen or gathered.limit
    recent = latency.remember(gathered.recent, _between(before.stable, after.stable), metric.quantile)
    if limit is None:
        missing = latency.choose(recent, metric.quantile, metric.slowdown)
        missing = missing if isinstance(missing, NoData) else _CHOSEN
        return _troubled(msgspec.structs.replace(gathered, recent=recent), missing), None
    gathered = msgspec.structs.replace(gathered, limit=limit)
    earlier, later = _counted(before, limit), _counted(after, limit)
    # where no edge is near the quantile, what was frozen is the best there is
    requests = gathered.recent.requests
    made, counts = _rated(
        metric,
        gathered,
        earlier,
        later,
        alone=alone,
        baking=baking,
        speaks_for=held or requests >= latency.least_recent(metric.quantile, latency.SURE),
        chosen=held or requests >= latency.least_recent(metric.quantile),
    )
    if counts is None or held:  # what was not counted is part of the next tick
        return made, counts
    return msgspec.structs.replace(made, recent=recent), counts


def _rated(
    metric: Metric,
    gathered: Gathered,
    earlier: Counted,
    later: Counted,
    *,
    alone: bool,
    baking: bool,
    speaks_for: bool = True,
    chosen: bool = False,
) -> tuple[Gathered, Counts | None]:
    """Evidence of a tick of counters.

    Args:
        metric: The metric.
        gathered: Evidence so far.
        earlier: Counters when the tick began.
        later: Counters now.
        alone: Whether the canary has all requests.
        baking: Whether the canary is promoted, and what it is compared with is held back.
        speaks_for: Whether the tick may speak for the canary, and not only against it.
        chosen: Whether its limit was chosen in the run.
    """
    if alone:
        return _alone(metric, gathered, earlier, later)
    found = tick(
        canary=(earlier.canary, later.canary),
        stable=(earlier.stable, later.stable),
        events_required=not later.born,
    )
    if isinstance(found, NoData):
        return _troubled(gathered, found), None
    counts = (found.canary_requests, found.canary_events, found.stable_requests, found.stable_events)
    if not found.canary_requests or not found.stable_requests:
        quiet = "the canary" if not found.canary_requests else "stable"
        return _troubled(gathered, _QUIET[quiet]), None
    test = ratio_test(metric, gathered.phi)
    if baking:
        gathered = _baked(metric, gathered, found)
    if chosen:
        gathered = msgspec.structs.replace(gathered, chosen=sequential.worse(test, gathered.chosen, found))
    return msgspec.structs.replace(
        gathered,
        ratio=sequential.update(test, gathered.ratio or sequential.start(test), found, speaks_for=speaks_for),
        likelihood=ratio.observed(gathered.likelihood or ratio.Likelihood(), found, dispersion=gathered.phi),
        trouble="",
        missing="",
    ), counts


def _alone(metric: Metric, gathered: Gathered, before: Counted, after: Counted) -> tuple[Gathered, Counts | None]:
    """A tick in which the canary has all requests: there is only the floor to hold it against."""
    found = tick(canary=(before.canary, after.canary), stable=(before.canary, after.canary))
    if isinstance(found, NoData):
        return _troubled(gathered, found), None
    seen = msgspec.structs.replace(gathered, trouble="", missing="")
    counts = (found.canary_requests, found.canary_events, 0.0, 0.0)
    # of latency nothing is said then: load changes it, and there is nobody who has any of it
    return (seen if metric.type == "latency" else _held(metric, seen, found)), counts


def _baked(metric: Metric, gathered: Gathered, found: Tick) -> Gathered:
    """Evidence of a tick since promotion, beside that of all ticks.

    Stable is made for all requests and has a few: its pods are idle, and by comparison alone a canary that bears the
    load would look slow. It must also be slower than stable was when it bore it.
    """
    worse = sequential.worse(ratio_test(metric, gathered.phi), gathered.baking, found)
    gathered = msgspec.structs.replace(gathered, baking=worse)
    return _held(metric, gathered, found) if metric.type == "latency" else gathered


def _held(metric: Metric, gathered: Gathered, found: Tick) -> Gathered:
    """Evidence of a tick against the bound, where there is one."""
    bound = _bound(metric, gathered)
    if not bound:
        return gathered
    evidence = absolute(gathered.absolute, found.canary_requests, found.canary_events, bound, gathered.phi)
    return msgspec.structs.replace(gathered, absolute=evidence)


def _bound(metric: Metric, gathered: Gathered) -> float:
    """The rate that the canary must not pass: the floor, or so many times what stable had; 0 for none."""
    before = gathered.ratio
    if before is None or not before.stable_requests:
        return 0.0
    rate = before.stable_events / before.stable_requests
    if gathered.limit is not None:  # what stable had before the run, when it bore all
        rate = max(rate, gathered.limit.share)
    return min(max(metric.tolerated, metric.margin * rate), 1.0)


def _drifted(gathered: Gathered, before: Reading, after: Reading) -> tuple[Gathered, Counts | None]:
    if not (isinstance(before, Binned) and isinstance(after, Binned)):
        return _troubled(gathered, NoData("there are no histograms of predictions")), None
    rows = drift.rows(
        canary=(_merged(before.canary), _merged(after.canary)), stable=(_merged(before.stable), _merged(after.stable))
    )
    if isinstance(rows, NoData):
        return _troubled(gathered, rows), None
    ours, theirs = rows
    evidence = gathered.drift or drift.start(len(ours))
    if len(evidence.canary) != len(ours):
        return _troubled(gathered, NoData("the histogram of predictions has other bins than before")), None
    evidence = drift.update(evidence, ours, theirs)
    counts = (math.fsum(ours), drift.estimate(evidence, gathered.phi), math.fsum(theirs), 0.0)
    if not counts[0] or not counts[2]:
        return _troubled(gathered, _NO_ROWS), None
    return msgspec.structs.replace(gathered, drift=evidence, trouble="", missing=""), counts


def _assigned(gathered: Gathered, before: Reading, after: Reading, share: float) -> tuple[Gathered, Counts | None]:
    if not (isinstance(before, Counted) and isinstance(after, Counted)):
        return _troubled(gathered, NoData("there are no counters of units")), None
    found = tick(canary=(before.canary, after.canary), stable=(before.stable, after.stable))
    if isinstance(found, NoData):
        return _troubled(gathered, found), None
    assigned = ratio.assigned(
        gathered.assignment or ratio.Assignment(),
        canary=found.canary_requests,
        stable=found.stable_requests,
        share=share,
    )
    counts = (found.canary_requests, 0.0, found.stable_requests, 0.0)
    return msgspec.structs.replace(gathered, assignment=assigned, trouble="", missing=""), counts


def _troubled(gathered: Gathered, trouble: Trouble) -> Gathered:
    missing = "provider-error" if isinstance(trouble, ProviderError) else "no-data"
    return msgspec.structs.replace(gathered, trouble=trouble.reason, missing=missing)


def _with_limit(metric: Metric, gathered: Gathered, readings: Sequence[Binned]) -> Gathered:
    """The limit of latency: from the time between the first reading and the last, or from all that was counted."""
    if not readings:
        return gathered
    tries = [_all(readings[-1].stable)]
    if len(readings) > 1:
        tries.insert(0, _between(readings[0].stable, readings[-1].stable))
    for buckets in tries:
        limit = latency.freeze(buckets, metric.quantile, metric.slowdown)
        if isinstance(limit, latency.Limit):
            return msgspec.structs.replace(gathered, limit=limit, frozen=limit)
    return gathered


def _stable(reading: Counted | Binned, limit: latency.Limit | None) -> Scrape | None:
    if isinstance(reading, Binned) and limit is None:
        return None
    return _counted(reading, limit).stable


def _counted(reading: Reading, limit: latency.Limit | None) -> Counted:
    """Counters, out of histograms where there is a limit."""
    if isinstance(reading, Counted):
        return reading
    if isinstance(reading, Binned) and limit is not None:
        return Counted(_slow(reading.stable, limit.seconds), _slow(reading.canary, limit.canary_seconds))
    raise TypeError("neither counters nor histograms with a limit")


def _slow(histograms: Histograms, limit: float) -> dict[str, Counters]:
    return {target: latency.counters(series, limit) for target, series in histograms.items()}


def _merged(histograms: Histograms) -> dict[str, dict[float, float]]:
    """One histogram for each target."""
    return {target: _sum(series.values()) for target, series in histograms.items()}


def _all(histograms: Histograms) -> dict[float, float]:
    return _sum(buckets for series in histograms.values() for buckets in series.values())


def _between(earlier: Histograms, later: Histograms) -> dict[float, float]:
    """What was counted between two readings, by targets that are in both."""
    before, after = _merged(earlier), _merged(later)
    found = (increase(before[target], each) for target, each in after.items() if target in before)
    return _sum(each for each in found if each is not None)


def _sum(histograms: Iterable[Mapping[float, float]]) -> dict[float, float]:
    total: dict[float, float] = {}
    for buckets in histograms:
        for edge, count in buckets.items():
            total[edge] = total.get(edge, 0.0) + count
    return total
