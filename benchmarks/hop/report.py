"""The table, the file of raw numbers, and the figures of the last line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.hop import messages
from benchmarks.hop.measure import Cell, Median, medians

_RATED: Final = (1, 16)
"""Rows and calls in flight that the figures are about."""


def figures(cells: Sequence[Cell]) -> dict[str, float]:
    """What our HTTP/2 gains with one row in a request and 16 calls in flight; nothing where that was not measured.

    ``hop_h2_ratio`` and ``hop_grpcio_ratio`` are answers per second, ours over theirs; ``hop_h2_cpu_ratio`` and
    ``hop_grpcio_cpu_ratio`` are time of processor for each answer, client and server together, theirs over ours.
    """
    by_stack = {stack: median for (stack, *key), median in medians(cells).items() if tuple(key) == _RATED}
    ours = by_stack.pop("tandem", None)
    if ours is None:
        return {}
    rates = {f"hop_{name}_ratio": ours.qps / median.qps for name, median in by_stack.items()}
    return rates | {f"hop_{name}_cpu_ratio": _total(median) / _total(ours) for name, median in by_stack.items()}


def show(cells: Sequence[Cell], console: Console) -> None:
    """Print the table."""
    title = "gRPC on the hop: medians over the rounds; CPU in microseconds per answer"
    table = Table(title=title, title_justify="left")
    for heading in ("rows", "calls", "HTTP/2 of"):
        table.add_column(heading)
    for heading in ("answers/s", "ours is", "p50 ms", "p99 ms", "client", "server", "both"):
        table.add_column(heading, justify="right")
    rows = medians(cells)
    previous = None
    for (name, count, calls), median in sorted(rows.items(), key=lambda row: row[0][1:]):
        if previous not in (None, (count, calls)):
            table.add_section()
        previous = count, calls
        ratio = rows["tandem", count, calls].qps / median.qps
        used = [f"{value:.0f}" for value in (median.cpu_us["client"], median.cpu_us["server"], _total(median))]
        times = [f"{median.milliseconds[name]:.3f}" for name in ("p50", "p99")]
        table.add_row(str(count), str(calls), name, f"{median.qps:,.0f}", f"x{ratio:.2f}", *times, *used)
    console.print(table)


def write(cells: Sequence[Cell], settings: Mapping[str, object], machine: Mapping[str, object], path: Path) -> None:
    """Write every raw number as JSON."""
    content = {
        "figures": figures(cells),
        "settings": settings,
        "machine": machine,
        "bytes": {
            str(rows): {"request": len(messages.request(rows)), "answer": len(messages.answer(rows))}
            for rows in messages.ROWS
        },
        "medians": [
            {"stack": stack, "rows": rows, "calls": calls, **msgspec.to_builtins(median)}
            for (stack, rows, calls), median in medians(cells).items()
        ],
        "cells": cells,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.encode(_rounded(msgspec.to_builtins(content)))
    path.write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")


def line(cells: Sequence[Cell]) -> str:
    """The figures as they stand in a last line."""
    return " ".join(f"{name}={value:.2f}" for name, value in figures(cells).items())


def _total(median: Median) -> float:
    return sum(median.cpu_us.values())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value
