from __future__ import annotations

import io
import math

from rich.console import Console

from tandem.telemetry import STAGES
from tandem_cli.local.live import Scraped, TrafficWindow, line, table
from tandem_cli.local.scrape import TOTAL, PairMetrics, StageHistogram


def window() -> TrafficWindow:
    seconds = {stage: StageHistogram({0.001: 1.0, 0.01: 90.0, math.inf: 100.0}) for stage in (TOTAL, *STAGES)}
    busy = PairMetrics({"200": 95.0, "503": 5.0}, seconds, {"stale": 2.0})
    earlier = Scraped(10.0, {"v1": PairMetrics(), "v2": PairMetrics()})
    return TrafficWindow.between(earlier, Scraped(20.0, {"v1": busy, "v2": PairMetrics()}))


def test_the_table_fits_a_terminal() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(table(window(), {"v1": 90, "v2": 10}))
    text = out.getvalue()
    assert "…" not in text
    assert "90.0 % / 100.0 %" in text
    assert "10.0" in text  # requests per second
    for stage in STAGES:
        assert stage in text


def test_a_line_tells_the_same() -> None:
    text = line(window(), {"v1": 90, "v2": 10})
    assert "v1 90.0 % set, 100.0 % had, 10.0 req/s" in text
    assert "5 errors" in text
    assert "v2 10.0 % set, 0.0 % had, 0.0 req/s, – / – / – ms" in text
