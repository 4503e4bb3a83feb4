"""What a controller takes in some time: CPU, memory, calls of the API server, and how long its passes are."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections import Counter
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import cpu
from benchmarks.controller.fleet import Fleet, Tally

_SECONDS: Final = "tandem_controller_reconcile_seconds"
_ERRORS: Final = "tandem_controller_reconcile_errors_total"


@dataclass(frozen=True)
class Scrape:
    """The controller's own metrics.

    Attributes:
        buckets: Passes that took at most so many seconds, by the seconds; infinite for all.
        seconds: Seconds of all passes.
        errors: Passes that failed.
    """

    buckets: dict[float, float]
    seconds: float
    errors: float

    @property
    def passes(self) -> float:
        """How many there were."""
        return self.buckets.get(float("inf"), 0.0)


@dataclass(frozen=True)
class Window:
    """What was measured in some time.

    Attributes:
        name: What happened in it.
        seconds: How long it was.
        cpu_percent: CPU of the controller, of one core.
        others_percent: CPU of the other processes, of one core, by name.
        strangers_percent: CPU of everything else on the machine, of one core: what the benchmark had to share it with.
        memory_mb: Most resident memory of the controller in it, in megabytes.
        calls: Calls of the API server by the controller, by verb and resource.
        passes: Passes.
        errors: Passes that failed.
        reconcile_s: Quantiles of the seconds of a pass, interpolated within the buckets of the histogram.
        tally: What became of the rollouts.
    """

    name: str
    seconds: float
    cpu_percent: float
    others_percent: dict[str, float]
    strangers_percent: float
    memory_mb: float
    calls: Counter[tuple[str, str]]
    passes: int
    errors: int
    reconcile_s: dict[str, float]
    tally: Tally = field(default_factory=Tally)

    @property
    def calls_per_minute(self) -> float:
        """Calls of the API server in a minute."""
        return sum(self.calls.values()) * 60.0 / self.seconds

    def by_verb(self) -> dict[str, float]:
        """Calls per minute, by verb."""
        totals: Counter[str] = Counter()
        for (verb, _), count in self.calls.items():
            totals[verb] += count
        return {verb: count * 60.0 / self.seconds for verb, count in totals.most_common()}

    def as_json(self) -> dict[str, Any]:
        """For the file of raw numbers."""
        lags = sorted(self.tally.lags)
        return {
            "name": self.name,
            "seconds": self.seconds,
            "cpu_percent": self.cpu_percent,
            "others_cpu_percent": self.others_percent,
            "strangers_cpu_percent": self.strangers_percent,
            "memory_mb": self.memory_mb,
            "api_calls_per_minute": self.calls_per_minute,
            "api_calls_per_minute_by_verb": self.by_verb(),
            "api_calls": {f"{verb} {resource}": count for (verb, resource), count in self.calls.most_common()},
            "passes": self.passes,
            "errors": self.errors,
            "reconcile_s": self.reconcile_s,
            "edits": self.tally.edits,
            "transitions": self.tally.transitions,
            "runs_ended": self.tally.ended,
            "status_lag_s": {"p50": quantile(lags, 0.5), "p99": quantile(lags, 0.99)} if lags else None,
        }


class Meter:
    """Measures a controller.

    Args:
        pid: Its process.
        port: Port of its metrics.
        audit: The API server's log of its calls.
        processes: Other processes.
        fleet: The rollouts.
    """

    def __init__(self, pid: int, port: int, audit: Path, processes: Mapping[str, int], fleet: Fleet) -> None:
        self._pid = pid
        self._port = port
        self._audit = audit
        self._others = processes
        self._fleet = fleet

    async def scrape(self) -> Scrape:
        """Its metrics now; none of a controller that does not answer yet."""
        url = f"http://127.0.0.1:{self._port}/metrics"
        try:
            return parsed(await asyncio.to_thread(_fetched, url))
        except OSError:
            return Scrape({}, 0.0, 0.0)

    async def measure(self, name: str, until: Awaitable[object]) -> Window:
        """Measure for as long as something takes.

        Args:
            name: What happens.
            until: Ends the window.
        """
        pids = {"controller": self._pid, **self._others}
        self._fleet.tally = tally = Tally()
        process, peak = psutil.Process(self._pid), 0
        before, used, busy, at = await self.scrape(), cpu.seconds(pids), _busy(), self._size()
        started = time.monotonic()
        work = asyncio.ensure_future(until)
        while not work.done():
            peak = max(peak, process.memory_info().rss)
            await asyncio.wait([work], timeout=0.5)
        work.result()
        seconds = time.monotonic() - started
        after, spent, strangers = await self.scrape(), cpu.seconds(pids), _busy() - busy
        percent = {role: 100.0 * (spent[role] - used[role]) / seconds for role in pids}
        strangers -= sum(spent[role] - used[role] for role in pids)
        self._fleet.tally = Tally()
        buckets = {edge: count - before.buckets.get(edge, 0.0) for edge, count in after.buckets.items()}
        return Window(
            name=name,
            seconds=seconds,
            cpu_percent=percent.pop("controller"),
            others_percent=percent,
            strangers_percent=max(100.0 * strangers / seconds, 0.0),
            memory_mb=max(peak, process.memory_info().rss) / 1e6,
            calls=_calls(self._audit, at, self._size()),
            passes=int(after.passes - before.passes),
            errors=int(after.errors - before.errors),
            reconcile_s={f"p{round(100 * quantile)}": interpolated(buckets, quantile) for quantile in (0.5, 0.9, 0.99)},
            tally=tally,
        )

    def _size(self) -> int:
        return self._audit.stat().st_size if self._audit.exists() else 0


def parsed(text: str) -> Scrape:
    """What a controller's metrics say of its passes."""
    buckets: dict[float, float] = {}
    seconds = errors = 0.0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{_SECONDS}_bucket":
                buckets[float(sample.labels["le"])] = sample.value
            elif sample.name == f"{_SECONDS}_sum":
                seconds = sample.value
            elif sample.name == _ERRORS:
                errors = sample.value
    return Scrape(buckets, seconds, errors)


def interpolated(buckets: Mapping[float, float], share: float) -> float:
    """A quantile of a histogram, as PromQL has it: evenly spread within a bucket, at most the last finite edge."""
    edges = sorted(buckets)
    rank = share * buckets[edges[-1]] if edges else 0.0
    low = below = 0.0
    for edge in edges:
        if buckets[edge] >= rank and buckets[edge] > below:
            return low if edge == float("inf") else low + (edge - low) * (rank - below) / (buckets[edge] - below)
        low, below = (edge, buckets[edge]) if edge != float("inf") else (low, below)
    return 0.0


def quantile(ordered: list[float], share: float) -> float:
    """A quantile of ordered values."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def _calls(audit: Path, begin: int, end: int) -> Counter[tuple[str, str]]:
    """Calls in a part of the log. A watch counts when it begins, anything else when it is answered."""
    calls: Counter[tuple[str, str]] = Counter()
    if end <= begin:
        return calls
    with audit.open("rb") as lines:
        lines.seek(begin)
        for line in lines.read(end - begin).splitlines():
            event = json.loads(line)
            if (event["stage"] == "ResponseStarted") != (event["verb"] == "watch"):
                continue
            about = event.get("objectRef") or {}
            resource = about.get("resource", event["requestURI"].partition("?")[0])
            calls[event["verb"], f"{resource}/{about['subresource']}" if "subresource" in about else resource] += 1
    return calls


def _busy() -> float:
    """CPU seconds that the whole machine has spent so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as response:
        return str(response.read().decode())
