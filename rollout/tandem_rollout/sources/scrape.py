"""Counters from the pods and the gateway's proxies, without Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import httpx2

from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.reading import Reading, Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Metric
from tandem_rollout.sources import ArmLocation, Arms
from tandem_rollout.sources.exposition import MAX_SERIES, ExpositionError, parse
from tandem_rollout.sources.fetch import FetchError, fetch, open_client
from tandem_rollout.sources.queries import ANSWERS, at_gateway, envoy_filter, names, own_promql
from tandem_rollout.sources.readings import at_gateways, build_reading
from tandem_rollout.sources.series import Series

_MAX_LENGTH: Final = 1 << 20
"""Maximum bytes of a page. That of a transformer has about 100 KiB."""

_METRICS: Final = "/metrics"
_STATISTICS: Final = "/stats/prometheus"

_Answers = Mapping[str, list[Series] | str]
"""The series of each target, or the error."""


class ScrapeSource:
    """Reads counters directly from pods and proxies. It has no history.

    Args:
        timeout: Timeout of a read in seconds.
        client: HTTP client, which is closed with the source.
    """

    def __init__(self, *, timeout: float = 2.0, client: httpx2.AsyncClient | None = None) -> None:
        self._timeout = timeout
        self._client = client or open_client(seconds=timeout)

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        """Read the present counters of all metrics."""
        scraped = [metric for metric in metrics if not own_promql(metric)]
        series = frozenset().union(*(names(metric) for metric in scraped if not at_gateway(metric)))
        stable, canary, gateways = await asyncio.gather(
            self._pods(arms.stable, series),
            self._pods(arms.canary, series),
            self._gateways(arms, needed=any(at_gateway(metric) for metric in scraped)),
        )
        return {metric.full_name: _reading(metric, arms, stable, canary, gateways) for metric in metrics}

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        """Read the present counters."""
        return [await self.read(metrics, arms)]

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def _pods(self, place: ArmLocation, series: Collection[str]) -> _Answers:
        return await self._all(place.pods if series else (), _METRICS, series)

    async def _gateways(self, arms: Arms, *, needed: bool) -> _Answers:
        clusters = dict.fromkeys([*arms.stable.clusters, *arms.canary.clusters])
        if not needed or not clusters:
            return {}
        # filtered, as a proxy has the statistics of all routes of its gateway
        # usedonly omits counters that Envoy never increased: they are read as 0
        return await self._all(arms.gateway, _STATISTICS, {ANSWERS}, {"usedonly": "", "filter": envoy_filter(clusters)})

    async def _all(
        self,
        targets: Iterable[tuple[str, str]],
        path: str,
        series: Collection[str],
        params: Mapping[str, str] | None = None,
    ) -> _Answers:
        addresses = dict(targets)
        # each page has the same share of the maximum
        most = MAX_SERIES // max(1, len(addresses))
        answers = await asyncio.gather(
            *(self._one(address, path, series, params, most) for address in addresses.values())
        )
        return dict(zip(addresses, answers, strict=True))

    async def _one(
        self, address: str, path: str, series: Collection[str], params: Mapping[str, str] | None, most: int
    ) -> list[Series] | str:
        try:
            url = _complete(address, path)
            fetched = await fetch(self._client, url, seconds=self._timeout, most=_MAX_LENGTH, params=params)
            if fetched.status != 200:
                return f"it returned status {fetched.status}"
            # in a thread, as parsing a hostile page may take a second
            return await asyncio.to_thread(_parsed, fetched.body, series, most)
        except (FetchError, ExpositionError) as error:
            return str(error)
        # before ValueError, of which it is a subclass
        except UnicodeDecodeError:
            return "its response is not text"
        except ValueError:
            return "its address is not a URL"


def _reading(metric: Metric, arms: Arms, stable: _Answers, canary: _Answers, gateways: _Answers) -> Reading:
    if own_promql(metric):
        return ProviderError("PrometheusNeeded", f"type {metric.type} needs source: prometheus")
    if at_gateway(metric):
        return _at_gateways(metric, arms, gateways)
    answers = {**stable, **canary}
    if not answers:
        return NoData("NoPods", "neither version has a pod")
    ours, theirs = _answered(canary), _answered(stable)
    if not ours and not theirs:
        # without a response of either version, it is not known which one failed
        return ProviderError("PodsUnreachable", f"no pod of either version responds; {_first_error(answers)}")
    return build_reading(metric, arms, theirs, ours)


def _at_gateways(metric: Metric, arms: Arms, gateways: _Answers) -> Reading:
    if not (arms.stable.clusters or arms.canary.clusters):
        return NoData("NoClusters", "neither version has a cluster at the gateway")
    if not gateways:
        return ProviderError("NoProxies", "no proxy of the gateway is known")
    proxies = _answered(gateways)
    if not proxies:
        return ProviderError("ProxiesUnreachable", f"no proxy of the gateway responds; {_first_error(gateways)}")
    return at_gateways(metric, arms, proxies)


def _answered(answers: _Answers) -> dict[str, list[Series]]:
    return {target: answer for target, answer in answers.items() if not isinstance(answer, str)}


def _first_error(answers: _Answers) -> str:
    """The first error."""
    return next(f"{target}: {answer}" for target, answer in sorted(answers.items()) if isinstance(answer, str))


def _parsed(body: bytes, series: Collection[str], most: int) -> list[Series]:
    return parse(body.decode(), series, most)


def _complete(address: str, path: str) -> str:
    """A URL, with a default path."""
    url = address if "://" in address else f"http://{address}"
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + path
