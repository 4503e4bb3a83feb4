"""Both sources say the same of the same counters."""

from __future__ import annotations

import promql_parser
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import Scrape
from tandem_rollout.analysis.reading import CounterReading, HistogramReading, Reading
from tandem_rollout.api.analysis import DEFAULT_METRICS, Metric
from tandem_rollout.sources.exposition import parse
from tandem_rollout.sources.queries import at_gateway, names, promql
from tandem_rollout.sources.readings import answered, at_gateways, build_reading
from tandem_rollout.sources.series import Series

from .counted import envoy, pod, proxied, scraped
from .servers import CANARY, STABLE, Samples, arms, evaluated, exposition

METRICS = DEFAULT_METRICS

counters = st.integers(0, 2**40).map(float)
codes = st.dictionaries(st.sampled_from(["200", "404", "500", "503"]), counters)
three = st.tuples(counters, counters, counters)
pods = st.builds(
    lambda codes, seconds, predictions, rows, degraded: pod(
        codes=codes, seconds=seconds, predictions=predictions, rows=rows, degraded=degraded
    ),
    codes,
    three,
    st.none() | three,
    counters,
    st.dictionaries(st.sampled_from(["missing", "stale", "stale:last_known"]), counters),
)
arm = st.dictionaries(st.sampled_from(["1", "2", "3"]), pods, min_size=1)
classes = st.dictionaries(st.sampled_from(["2", "4", "5"]), counters)
# Prometheus knows a proxy by the answers that it has counted
proxies = st.dictionaries(
    st.sampled_from(["envoy-0", "envoy-1"]),
    st.builds(lambda ours, theirs: envoy({STABLE: theirs, CANARY: ours}), classes, classes).filter(bool),
    min_size=1,
)


def plain(reading: Reading) -> object:
    """Counts by target, whatever series are called."""
    if isinstance(reading, HistogramReading):
        return [
            {target: list(series.values()) for target, series in arm.items() if series}
            for arm in (reading.stable, reading.canary)
        ]
    assert isinstance(reading, CounterReading)
    return [_sums(reading.stable), _sums(reading.canary), reading.born]


def _sums(scrape: Scrape) -> dict[str, tuple[list[float], list[float]]]:
    return {
        target: (sorted(counts.requests.values()), sorted(counts.events.values())) for target, counts in scrape.items()
    }


def by_prometheus(metric: Metric, samples: Samples) -> Reading:
    queries = promql(metric, arms())
    assert isinstance(queries, tuple)
    answers = [
        [
            Series(labels.get("__name__", ""), labels, value)
            for labels, value in evaluated(promql_parser.parse(query), samples)
        ]
        for query in queries
    ]
    return answered(metric, arms(), answers)


@given(arm, arm, proxies, st.booleans())
def test_scraped_directly_or_by_prometheus_and_once_or_twice(
    stable: dict[str, Samples], canary: dict[str, Samples], envoys: dict[str, Samples], twice: bool
) -> None:
    jobs = ["models/est", "annotated-pods"][: 1 + twice]
    samples = [
        sample
        for job in jobs
        for service, of in ((STABLE, stable), (CANARY, canary))
        for name, series in of.items()
        for sample in scraped([*series], service, f"{service}-{name}", job=job, instance=f"{name}:{len(job)}")
    ]
    samples += [
        sample for job in jobs for name, series in envoys.items() for sample in proxied([*series], name, job=job)
    ]
    for metric in METRICS:
        theirs, ours, at = (
            {f"{prefix}{name}": parse(exposition(series), names(metric)) for name, series in of.items()}
            for prefix, of in ((f"{STABLE}-", stable), (f"{CANARY}-", canary), ("", envoys))
        )
        direct = at_gateways(metric, arms(), at) if at_gateway(metric) else build_reading(metric, arms(), theirs, ours)
        if metric.type == "drift" and not any(entry for entry in [*theirs.values(), *ours.values()]):
            continue
        assert plain(by_prometheus(metric, samples)) == plain(direct)
