"""One HTTP server in place of the transformers, for verifications, and of Prometheus, for counters."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

PODS: Final = 2
"""Pods that count of each version: Prometheus knows more of them than the API server does, which costs no more."""

_RATE: Final = 100.0
"""Requests per second of each pod."""

_ERRORS: Final = 0.005
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, math.inf)
_QUICK: Final = 0.02
"""Seconds that most requests take."""

_LISTED: Final = re.compile(r'(__name__|envoy_cluster_name|inferenceservice)=~"([^"]*)"')
_FEATURES: Final = 12


@asynccontextmanager
async def serving(verification_seconds: float) -> AsyncIterator[str]:
    """Serve on a free port of the loopback interface; gives the address.

    Args:
        verification_seconds: Seconds that a pair takes to replay its golden rows.
    """

    async def verify(request: web.Request) -> web.Response:
        await asyncio.sleep(verification_seconds)
        return web.json_response(_verification(request.match_info["service"]))

    app = web.Application()
    app.router.add_get("/pairs/{namespace}/{service}/tandem/verification", verify)
    app.router.add_post("/api/v1/query", _query)
    app.router.add_post("/api/v1/query_range", _query_range)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _verification(service: str) -> dict[str, Any]:
    """A successful verification. All versions have the same contract, and different digests."""
    digest = service.rpartition("-")[2]
    parameters = {f"feature_{at}": {"type": "float64", "ge": 0, "unit": "s"} for at in range(_FEATURES)}
    contract = {
        "model": "bench",
        "serving_keys": {"athlete_id": {"type": "string"}},
        "passed_features": {},
        "request_parameters": parameters,
        "prediction": {"name": "seconds", "type": "float64"},
        "outputs": {"seconds": {"type": "float64"}},
    }
    return {"name": "bench", "version": digest, "digest": f"{digest:0>64}", "rows": 64, "contract": contract}


async def _query(request: web.Request) -> web.Response:
    form, now = await request.post(), time.time()
    samples = [{"metric": metric, "value": [now, _value(metric, now)]} for metric in _series(str(form["query"]))]
    return _answer("vector", samples)


async def _query_range(request: web.Request) -> web.Response:
    form = await request.post()
    start, end, step = (float(str(form[name])) for name in ("start", "end", "step"))
    moments = [start + step * at for at in range(int((end - start) / step) + 1)]
    samples = [
        {"metric": metric, "values": [[moment, _value(metric, moment)] for moment in moments]}
        for metric in _series(str(form["query"]))
        if _is_old(metric)
    ]
    return _answer("matrix", samples)


def _answer(kind: str, result: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"status": "success", "data": {"resultType": kind, "result": result}})


def _is_old(metric: dict[str, str]) -> bool:
    """Whether there was something to count before the run: there was not of a canary."""
    return metric.get("envoy_cluster_name", "0").endswith("0")


def _series(query: str) -> Iterator[dict[str, str]]:
    """Series that a query of the controller finds, without their values."""
    matchers = {name: values.split("|") for name, values in _LISTED.findall(query)}
    for cluster in matchers.get("envoy_cluster_name", ()):
        for kind in ("2", "5"):
            labels = {"envoy_cluster_name": cluster, "envoy_response_code_class": kind}
            yield {"__name__": "envoy_cluster_upstream_rq_xx", "job": "gateway", "pod": "envoy-0", **labels}
    for service in matchers.get("inferenceservice", ()):
        for pod in range(PODS):
            own = {"job": "pods", "pod": f"{service}-{pod}", "instance": "10.0.0.1:8080", "inferenceservice": service}
            for name in matchers.get("__name__", ()):
                yield from ({"__name__": name, **own, **extra} for extra in _labels(name))


def _labels(name: str) -> list[dict[str, str]]:
    if name == "tandem_inflight_requests":
        return [{}]
    labels: list[dict[str, str]] = [{}]
    if name.endswith("_bucket"):
        labels = [{"le": "+Inf" if math.isinf(edge) else f"{edge:g}"} for edge in _BUCKETS]
    elif name == "tandem_requests_total":
        labels = [{"code": "200", "outcome": "answered"}, {"code": "500", "outcome": "failed"}]
    elif name == "tandem_degraded_total":
        labels = [{"reason": "unavailable", "source": "default"}]
    return [{**entry, "traffic": "weighted"} for entry in labels]


def _value(metric: dict[str, str], moment: float) -> str:
    """A counter that has grown evenly since the epoch of this decade."""
    count = _RATE * (moment - 1_760_000_000.0)
    name = metric["__name__"]
    if name == "tandem_inflight_requests":
        return "3"
    if "5" in (metric.get("envoy_response_code_class"), metric.get("code", "")[:1]) or name == "tandem_degraded_total":
        count *= _ERRORS
    elif name.endswith("_bucket"):
        count *= 1.0 - math.exp(-float(metric["le"]) / _QUICK)
    return str(math.floor(count))
