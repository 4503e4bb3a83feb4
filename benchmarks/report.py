"""The table, the file of raw numbers, the plot, and the last line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

from benchmarks.rounds import Cell, Median, as_json, medians

mpl.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {
    "stock-rest": "#b0b0b0",
    "tandem-rest": "#1f77b4",
    "stock-grpc": "#d9d9d9",
    "tandem-grpc": "#6baed6",
    "tandem-logged": "#9467bd",
    "tandem-durable": "#c5b0d5",
    "tandem-bare": "#ff7f0e",
    "tandem-guarded": "#ffbb78",
    "handmade": "#2ca02c",
    "floor": "#333333",
}
ROLES = ("transformer", "predictor", "floor", "store", "load")


@dataclass(frozen=True)
class Findings:
    """What one benchmark has measured.

    Attributes:
        settings: Rounds, seconds, clients.
        machine: Facts about the machine.
        cells: The measurements under load.
        lookup_ms: Lookup of 100 rows, ``p50`` and ``p99``.
        embedded_us: One embedded prediction, ``p50`` and ``p99``.
        hop: What our HTTP/2 gains on the hop, see :func:`benchmarks.hop.report.figures`.
    """

    settings: dict[str, Any]
    machine: dict[str, object]
    cells: Sequence[Cell]
    lookup_ms: Mapping[str, float] = field(default_factory=dict)
    embedded_us: Mapping[str, float] = field(default_factory=dict)
    hop: Mapping[str, float] = field(default_factory=dict)

    @property
    def medians(self) -> dict[tuple[str, int], Median]:
        """Medians over the rounds, by side and clients."""
        return medians(self.cells)

    def headline(self) -> dict[str, float]:
        """The figures of the last line; NaN for what was not measured."""
        medians = self.medians

        def ratio(side: str, baseline: str, clients: int = 16) -> float:
            over, under = medians.get((side, clients)), medians.get((baseline, clients))
            return over.qps / under.qps if over and under else float("nan")

        at64 = medians.get(("tandem-rest", 64))
        return {
            "rest_ratio": ratio("tandem-rest", "stock-rest"),
            "grpc_ratio": ratio("tandem-grpc", "stock-grpc"),
            "solo_ratio": ratio("tandem-grpc", "stock-grpc", 1),
            "handmade_ratio": ratio("tandem-grpc", "handmade"),
            "handmade_solo": ratio("tandem-grpc", "handmade", 1),
            "log_cost": 1 - ratio("tandem-logged", "tandem-grpc"),
            "guard_cost": 1 - ratio("tandem-guarded", "tandem-bare"),
            "floor_ratio": ratio("tandem-rest", "floor"),
            "qps64": at64.qps if at64 else float("nan"),
            "p99ms64": at64.milliseconds["p99"] if at64 else float("nan"),
            "lookup100_ms": self.lookup_ms.get("p50", float("nan")),
            "embedded_us": self.embedded_us.get("p50", float("nan")),
            **self.hop,
        }


def show(findings: Findings, console: Console) -> None:
    """Print the table."""
    table = Table(title="Medians over the rounds; CPU in microseconds per answer", title_justify="left")
    table.add_column("side")
    for heading in ("clients", "answers/s", "p50 ms", "p90 ms", "p99 ms", *ROLES):
        table.add_column(heading, justify="right")
    previous = None
    for (side, clients), median in sorted(findings.medians.items(), key=lambda item: (item[0][1], item[0][0])):
        if previous not in (None, clients):
            table.add_section()
        previous = clients
        times = [f"{median.milliseconds[name]:.2f}" for name in ("p50", "p90", "p99")]
        used = [f"{median.cpu_us[role]:.0f}" if role in median.cpu_us else "" for role in ROLES]
        table.add_row(side, str(clients), f"{median.qps:,.0f}", *times, *used)
    console.print(table)


def write(findings: Findings, directory: Path) -> None:
    """Write ``pair.json`` and, if there was load, ``pair.png``."""
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "headline": {name: round(value, 4) for name, value in findings.headline().items() if value == value},
        "settings": findings.settings,
        "machine": findings.machine,
        "lookup_ms": dict(findings.lookup_ms),
        "embedded_us": dict(findings.embedded_us),
        "medians": [
            {"side": side, "clients": clients, **asdict(median)} for (side, clients), median in findings.medians.items()
        ],
        "cells": as_json(findings.cells),
    }
    (directory / "pair.json").write_text(json.dumps(_rounded(content), indent=1) + "\n")
    if findings.cells:
        _plot(findings, directory / "pair.png")


def last_line(findings: Findings) -> str:
    """One line for machines."""
    digits = {"qps64": 0, "embedded_us": 0, "lookup100_ms": 3}
    figures = (f"{name}={value:.{digits.get(name, 2)}f}" for name, value in findings.headline().items())
    return "bench: " + " ".join(figures)


def _plot(findings: Findings, path: Path) -> None:
    medians = findings.medians
    sides = list(dict.fromkeys(side for side, _ in medians))
    clients = sorted({count for _, count in medians})
    figure, (throughput, latency, cpu) = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    width = 0.8 / len(sides)
    for at, side in enumerate(sides):
        places = [group + (at - (len(sides) - 1) / 2) * width for group in range(len(clients))]
        rates = [medians[side, count].qps for count in clients]
        bars = throughput.bar(places, rates, width, label=side, color=COLOURS.get(side))
        throughput.bar_label(bars, fmt="{:,.0f}", fontsize=7, rotation=90, padding=2)
        tails = [medians[side, count].milliseconds["p99"] for count in clients]
        bars = latency.bar(places, tails, width, label=side, color=COLOURS.get(side))
        latency.bar_label(bars, fmt="{:.1f}", fontsize=7, rotation=90, padding=2)
    for axes, title in ((throughput, "answers per second"), (latency, "latency p99, ms (log)")):
        axes.set_xticks(range(len(clients)), [_clients(count) for count in clients])
        axes.set_title(title)
        axes.margins(y=0.18)
    latency.set_yscale("log")
    throughput.legend(fontsize=8)
    _plot_cpu(cpu, medians, sides, 16 if 16 in clients else clients[-1])
    figure.suptitle(f"Pairs on {findings.machine['cpu']}, {findings.machine['cores']} cores", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _plot_cpu(axes: Any, figures: Mapping[tuple[str, int], Median], sides: Sequence[str], clients: int) -> None:
    bottom = [0.0] * len(sides)
    for role in ROLES:
        used = [figures[side, clients].cpu_us.get(role, 0.0) for side in sides]
        axes.bar(sides, used, 0.6, bottom=bottom, label=role)
        bottom = [low + height for low, height in zip(bottom, used, strict=True)]
    axes.set_title(f"CPU µs per answer, {_clients(clients)}")
    axes.tick_params(axis="x", labelsize=8)
    axes.legend(fontsize=8)


def _clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value
