"""Counters from Prometheus."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

import httpx2
import msgspec

from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.reading import Reading, Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Metric
from tandem_rollout.api.text import one_line
from tandem_rollout.sources import Arms
from tandem_rollout.sources.fetch import MAX_REASON_LENGTH, Fetched, FetchError, fetch, open_client
from tandem_rollout.sources.queries import promql, scraped
from tandem_rollout.sources.readings import answered
from tandem_rollout.sources.series import Series, by_target

_MAX_SERIES: Final = 20_000
_MAX_SAMPLES: Final = 400_000
_MAX_LENGTH: Final = 16 << 20
"""Maximum bytes of all responses of one read."""
_DEFAULT_INTERVAL_S: Final = 60.0
"""Assumed seconds between scrapes if they are not known: Prometheus' default."""

_Form = Mapping[str, str]
_T = TypeVar("_T")


class _Sample(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str] | None = None


class _Samples(msgspec.Struct):
    metric: dict[str, str]
    values: list[tuple[float, str]] = []


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: msgspec.Raw


class _PrometheusResponse(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error: str = ""
    warnings: list[str] = []
    is_partial: bool = False


class _ReadError(Exception):
    """A query failed. The message completes a sentence that begins with Prometheus."""


class PrometheusSource:
    """Reads counters from Prometheus, or from a database with the same API.

    Args:
        address: Its URL, without ``/api/v1``.
        timeout: Timeout of a read in seconds.
        client: HTTP client, which is closed with the source.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = 3.0,
        client: httpx2.AsyncClient | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = address.rstrip("/")
        self._timeout = timeout
        self._client = client or open_client(seconds=timeout)
        self._clock = clock

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        """Read the present counters of all metrics."""
        queries = {metric.full_name: promql(metric, arms) for metric in metrics}
        times = {metric.full_name: scraped(metric, arms) for metric in metrics}
        # before the queries, so that an assumed time of a scrape is not too late
        now = self._clock()
        # the times are read first: a scrape in between makes the counters newer than their times, never older
        scrapes = await _ask_all(dict.fromkeys(filter(None, times.values())), self._now)
        answers = await _ask_all(_texts(queries.values()), self._now)
        return {
            metric.full_name: _timed(
                _reading(metric, arms, queries[metric.full_name], answers),
                scrapes.get(times[metric.full_name], []),
                now,
            )
            for metric in metrics
        }

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        """Read past counters, in order, and the present ones last.

        If the history of a metric cannot be read, or is too long, its first reading is the error. The history of drift
        is not read.
        """
        now, past = await asyncio.gather(
            self.read(metrics, arms),
            self._past([metric for metric in metrics if metric.type != "drift"], arms, seconds, step),
        )
        return [*past, now]

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def _past(self, metrics: Sequence[Metric], arms: Arms, seconds: float, step: float) -> list[Readings]:
        by_metric = {metric.full_name: promql(metric, arms) for metric in metrics}
        end = self._clock()
        times = {"start": f"{end - seconds:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        answers = await _ask_all(_texts(by_metric.values()), lambda query, most: self._range(query, times, most))
        history: dict[float, dict[str, Reading]] = {}
        for metric in metrics:
            queries = by_metric[metric.full_name]
            if isinstance(queries, NoData | ProviderError):
                continue
            usable = [answer for query in queries if not isinstance(answer := answers[query], ProviderError)]
            if len(usable) < len(queries):
                why = next(error for query in queries if isinstance(error := answers[query], ProviderError))
                # in place of the oldest reading, so that the measurements before the run know of it
                history.setdefault(end - seconds, {})[metric.full_name] = why
                continue
            for moment in set().union(*usable):
                reading = answered(metric, arms, [answer.get(moment, []) for answer in usable])
                history.setdefault(moment, {})[metric.full_name] = reading
        return [history[moment] for moment in sorted(history)]

    async def _now(self, query: str, most: int) -> list[Series]:
        # one series more than allowed: a result of exactly the limit may have been cut
        data = await self._ask("query", {"query": query, "limit": str(_MAX_SERIES + 1)}, "vector", most)
        samples = _decoded(data, list[_Sample])
        _check(len(samples), _MAX_SERIES, "series")
        series = []
        for sample in samples:
            if sample.value is None:
                # native histograms have the field histogram instead of value
                raise _ReadError("returned native histograms, which are not supported")
            series.append(_series(sample.metric, sample.value[1]))
        return series

    async def _range(self, query: str, times: _Form, most: int) -> dict[float, list[Series]]:
        form = {"query": query, "limit": str(_MAX_SERIES + 1), **times}
        data = await self._ask("query_range", form, "matrix", most)
        # in a thread, as decoding some megabytes would block the event loop
        return await asyncio.to_thread(_by_time, data)

    async def _ask(self, path: str, form: _Form, result_type: str, most: int) -> msgspec.Raw:
        """The result of a query.

        Args:
            path: Path of the endpoint below ``/api/v1``.
            form: Parameters of the query.
            result_type: Required type of the result.
            most: Maximum bytes of the response.
        """
        if not self._address:
            raise _ReadError("has no address: set it in the analysis or in the installation")
        try:
            fetched = await fetch(
                self._client,
                f"{self._address}/api/v1/{path}",
                seconds=self._timeout,
                most=most,
                # a POST, as the names of many clusters are too long for a URL; with the time after which nobody waits
                form={**form, "timeout": f"{max(1, round(self._timeout * 1000))}ms"},
            )
        except FetchError as error:
            raise _ReadError(f"cannot be read: {error}") from error
        answer = _response(fetched)
        # Thanos and VictoriaMetrics answer without a store that is down: its counters would look restarted
        if answer.warnings or answer.is_partial:
            warning = one_line(answer.warnings[0], MAX_REASON_LENGTH) if answer.warnings else "isPartial is set"
            raise _ReadError(f"returned a partial result: {warning}")
        if answer.data is None:
            raise _ReadError("returned no data")
        if answer.data.result_type != result_type:
            kind = one_line(answer.data.result_type, MAX_REASON_LENGTH)
            raise _ReadError(f"returned a {kind} instead of a {result_type}")
        return answer.data.result


async def _ask_all(queries: Iterable[str], ask: Callable[[str, int], Awaitable[_T]]) -> dict[str, _T | ProviderError]:
    """Results of concurrent queries, which share the maximum number of bytes."""
    texts = list(queries)
    most = _MAX_LENGTH // max(1, len(texts))

    async def answer(query: str) -> _T | ProviderError:
        try:
            return await ask(query, most)
        except _ReadError as error:
            return ProviderError("PrometheusUnreachable", f"Prometheus {error}")

    return dict(zip(texts, await asyncio.gather(*map(answer, texts)), strict=True))


def _texts(by_metric: Iterable[tuple[str, ...] | NoData | ProviderError]) -> list[str]:
    """All queries, without duplicates."""
    return list(dict.fromkeys(query for queries in by_metric if isinstance(queries, tuple) for query in queries))


def _reading(
    metric: Metric,
    arms: Arms,
    queries: tuple[str, ...] | NoData | ProviderError,
    answers: Mapping[str, list[Series] | ProviderError],
) -> Reading:
    if isinstance(queries, NoData | ProviderError):
        return queries
    results = []
    for query in queries:
        answer = answers[query]
        if isinstance(answer, ProviderError):
            return answer
        results.append(answer)
    return answered(metric, arms, results)


def _timed(reading: Reading, times: list[Series] | ProviderError, now: float) -> Reading:
    """A reading with the times at which its targets were scraped. Unknown times are the earliest possible ones."""
    if isinstance(reading, NoData | ProviderError):
        return reading
    scrapes = {} if isinstance(times, ProviderError) else by_target(times)
    scraped_at = {
        target: min((sample.value for sample in scrapes.get(target, ())), default=now - _DEFAULT_INTERVAL_S)
        for target in [*reading.stable, *reading.canary]
    }
    return replace(reading, scraped=scraped_at)


def _response(fetched: Fetched) -> _PrometheusResponse:
    try:
        # before the status is checked: Prometheus explains errors in JSON, too
        answer = msgspec.json.decode(fetched.body, type=_PrometheusResponse)
    except (msgspec.DecodeError, UnicodeDecodeError):
        if fetched.status != 200:
            raise _ReadError(f"returned status {fetched.status}") from None
        raise _ReadError("returned an invalid response") from None
    if fetched.status != 200 or answer.status != "success":
        raise _ReadError(
            f"returned status {fetched.status}: {one_line(answer.error, MAX_REASON_LENGTH) or 'no success'}"
        )
    return answer


def _decoded(data: msgspec.Raw, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _ReadError("returned an invalid response") from None


def _by_time(data: msgspec.Raw) -> dict[float, list[Series]]:
    samples = _decoded(data, list[_Samples])
    _check(len(samples), _MAX_SERIES, "series")
    _check(sum(len(sample.values) for sample in samples), _MAX_SAMPLES, "samples")
    by_time: dict[float, list[Series]] = {}
    for sample in samples:
        for moment, value in sample.values:
            by_time.setdefault(moment, []).append(_series(sample.metric, value))
    return by_time


def _series(metric: dict[str, str], value: str) -> Series:
    try:
        # values are strings in Prometheus' API, as JSON has neither NaN nor infinity
        return Series(metric.get("__name__", ""), metric, float(value))
    except ValueError:
        raise _ReadError(f"returned {one_line(value, MAX_REASON_LENGTH)!r}, which is not a number") from None


def _check(count: int, most: int, what: str) -> None:
    if count > most:
        raise _ReadError(f"returned more than {most} {what}")
