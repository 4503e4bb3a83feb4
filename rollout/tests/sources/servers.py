"""Prometheus, pods and proxies on the loopback interface, for tests."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import promql_parser
from aiohttp import web

from tandem_rollout.sources import ArmLocation, Arms

Labels = Mapping[str, str]
Samples = Sequence[tuple[Labels, float]]

NAMESPACE = "models"
STABLE, CANARY = "est-a", "est-b"
CLUSTERS = {
    STABLE: ("httproute/models/est/rule/0/backend/0", "httproute/models/est/rule/1/backend/0"),
    CANARY: ("httproute/models/est/rule/0/backend/1", "httproute/models/est/rule/1/backend/1"),
}


def arms(**addresses: Any) -> Arms:
    """Stable and a canary on Kubernetes.

    Args:
        addresses: ``stable`` and ``canary``: addresses of pods, by name; ``gateway``: of proxies.
    """
    stable, canary = (
        ArmLocation(service=service, clusters=CLUSTERS[service], pods=tuple(addresses.get(arm, {}).items()))
        for arm, service in (("stable", STABLE), ("canary", CANARY))
    )
    return Arms(namespace=NAMESPACE, stable=stable, canary=canary, gateway=tuple(addresses.get("gateway", {}).items()))


@asynccontextmanager
async def serving(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server that answers everything with one function; gives its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def exposition(samples: Samples) -> str:
    """Samples in Prometheus' text format."""
    return "".join(f"{written(labels)} {value!r}\n" for labels, value in samples)


def written(labels: Labels) -> str:
    """A series as the text format has it."""
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items() if name != "__name__")
    return f"{labels['__name__']}{{{inner}}}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Prometheus:
    """Answers queries about what it was given: selectors, ``timestamp`` of them, and ``max``, ``min`` and ``sum``.

    Attributes:
        samples: What there is now.
        scraped: When a series was scraped, in seconds since the epoch.
        past: What there was, by time, for ranges.
        asked: Paths and forms of all that it was asked.
    """

    def __init__(self, samples: Samples = ()) -> None:
        self.samples = samples
        self.scraped: Callable[[Labels], float] = lambda labels: 0.0
        self.past: Callable[[float], Samples] = lambda moment: ()
        self.asked: list[tuple[str, dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        form = {key: str(value) for key, value in (await request.post()).items()}
        self.asked.append((request.path, form))
        query = promql_parser.parse(form["query"])
        if request.path.endswith("/query_range"):
            return web.json_response({"status": "success", "data": self._range(query, form)})
        vector = [{"metric": dict(labels), "value": [0.0, str(value)]} for labels, value in self._evaluated(query)]
        return web.json_response({"status": "success", "data": {"resultType": "vector", "result": vector}})

    def _evaluated(self, query: Any) -> list[tuple[Labels, float]]:
        if "timestamp(" in str(query):
            return evaluated(query, [(labels, self.scraped(labels)) for labels, _ in self.samples])
        return evaluated(query, self.samples)

    def _range(self, query: Any, form: Labels) -> Any:
        start, end, step = (float(form[key]) for key in ("start", "end", "step"))
        series: dict[tuple[tuple[str, str], ...], list[Any]] = {}
        for index in range(int((end - start) / step) + 1):
            moment = start + index * step
            for labels, value in evaluated(query, self.past(moment)):
                series.setdefault(tuple(sorted(labels.items())), []).append([moment, str(value)])
        matrix = [{"metric": dict(labels), "values": values} for labels, values in series.items()]
        return {"resultType": "matrix", "result": matrix}


def evaluated(node: Any, samples: Samples) -> list[tuple[Labels, float]]:
    """What a parsed query selects."""
    if isinstance(node, promql_parser.ParenExpr):
        return evaluated(node.expr, samples)
    if isinstance(node, promql_parser.VectorSelector):
        return [(labels, value) for labels, value in samples if _matches(node, labels)]
    if isinstance(node, promql_parser.Call):
        assert node.func.name == "timestamp", node
        return evaluated(node.args[0], samples)
    assert isinstance(node, promql_parser.AggregateExpr), node
    label_names = set(node.modifier.labels) if node.modifier else set()
    groups: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for labels, value in evaluated(node.expr, samples):
        groups.setdefault(tuple(sorted((k, v) for k, v in labels.items() if k in label_names)), []).append(value)
    combine = {"max": _largest, "min": min, "sum": math.fsum}[str(node.op)]
    return [(dict(group), combine(values)) for group, values in groups.items()]


def _largest(values: Iterable[float]) -> float:
    """NaN only where there is nothing else."""
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _matches(selector: Any, labels: Labels) -> bool:
    if selector.name and labels.get("__name__") != selector.name:
        return False
    for matcher in selector.matchers.matchers:
        value = labels.get(matcher.name, "")
        if matcher.op == promql_parser.MatchOp.Equal:
            matched = value == matcher.value
        else:
            assert matcher.op == promql_parser.MatchOp.Re, matcher.op
            matched = re.fullmatch(matcher.value, value) is not None
        if not matched:
            return False
    return True
