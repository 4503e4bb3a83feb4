"""The table, the file of raw numbers, the last line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.controller.window import Window, quantile


@dataclass(frozen=True)
class Findings:
    """All that was measured.

    Attributes:
        idle: Rollouts that have nothing to do.
        moving: Rollouts that get new versions.
        settings: What was asked for.
        machine: What it ran on.
        windows: The windows, by name, in order.
    """

    idle: int
    moving: int
    settings: Mapping[str, object]
    machine: Mapping[str, object]
    windows: Mapping[str, Window]

    @property
    def headline(self) -> dict[str, float]:
        """The figures that count: of the window in which some move."""
        window = self.windows["moving"]
        return {
            "idle": self.idle,
            "moving": self.moving,
            "cpu_percent": round(window.cpu_percent, 1),
            "memory_mb": round(window.memory_mb),
            "api_calls_per_minute": round(window.calls_per_minute),
            "reconcile_p99_s": round(window.reconcile_s["p99"], 3),
        }


def show(findings: Findings, console: Console) -> None:
    """Print the tables."""
    table = Table(title=f"{findings.idle} rollouts idle, {findings.moving} moving; CPU in per cent of one core")
    table.add_column("", no_wrap=True)
    for window in findings.windows.values():
        table.add_column(window.name, justify="right", no_wrap=True)
    rows: dict[str, Callable[[Window], str]] = {
        "seconds": lambda window: f"{window.seconds:,.0f}",
        "CPU of the controller": lambda window: f"{window.cpu_percent:.1f}",
        "its memory, MB": lambda window: f"{window.memory_mb:,.0f}",
        "API calls per minute": lambda window: f"{window.calls_per_minute:,.0f}",
        "passes per minute": lambda window: f"{window.passes * 60 / window.seconds:,.0f}",
        "passes that failed": lambda window: str(window.errors),
        "a pass, p50, s": lambda window: f"{window.reconcile_s['p50']:.3f}",
        "a pass, p99, s": lambda window: f"{window.reconcile_s['p99']:.3f}",
        "new versions": lambda window: str(window.tally.edits),
        "transitions of runs": lambda window: str(window.tally.transitions),
        "runs ended": lambda window: ", ".join(f"{count} {how}" for how, count in window.tally.ended.items()),
        "edit to status, p50, s": lambda window: _lag(window, 0.5),
        "edit to status, p99, s": lambda window: _lag(window, 0.99),
        "CPU of the API server": lambda window: f"{window.others_percent['kube-apiserver']:.1f}",
        "CPU of etcd": lambda window: f"{window.others_percent['etcd']:.1f}",
        "CPU of the benchmark itself": lambda window: f"{window.others_percent['benchmark']:.1f}",
        "CPU of all others here": lambda window: f"{window.strangers_percent:.1f}",
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(window) for window in findings.windows.values()))
    console.print(table)
    calls = Table(title="API calls of the controller per minute")
    calls.add_column("", no_wrap=True)
    for window in findings.windows.values():
        calls.add_column(window.name, justify="right", no_wrap=True)
    kinds = sorted({kind for window in findings.windows.values() for kind in window.calls})
    for kind in kinds:
        rates = [window.calls[kind] * 60 / window.seconds for window in findings.windows.values()]
        calls.add_row(" ".join(kind), *(f"{rate:,.1f}" if rate else "" for rate in rates))
    console.print(calls)


def write(findings: Findings, directory: Path) -> None:
    """Write ``controller.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "headline": findings.headline,
        "settings": dict(findings.settings),
        "machine": dict(findings.machine),
        "windows": [window.as_json() for window in findings.windows.values()],
    }
    (directory / "controller.json").write_text(json.dumps(_rounded(content), indent=1) + "\n")


def last_line(findings: Findings) -> str:
    """One line for machines."""
    return "controller: " + " ".join(f"{name}={value:g}" for name, value in findings.headline.items())


def _lag(window: Window, share: float) -> str:
    return f"{quantile(sorted(window.tally.lags), share):.2f}" if window.tally.lags else ""


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value
