"""What `tandem parity` prints: one table, and the first difference of each mode that differs."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from tandem.parity import Difference, Parity
from tandem_cli.output import Console
from tandem_cli.parity.modes import MODES
from tandem_cli.parity.running import Report

_STYLES = {"equal": "green", "differs": "bold red", "not run": "yellow"}


def describe_report(report: Report) -> dict[str, Any]:
    """A report as a document."""
    bundle = report.bundle
    parities = {name: _describe(parity) for name, parity in report.parities.items()}
    skipped = {name: {"mode": name, "status": "not run", "reason": reason} for name, reason in report.skipped.items()}
    modes = parities | skipped
    return {
        "model": bundle.wire_name,
        "version": bundle.version,
        "digest": bundle.digest,
        "seed": report.seed,
        "goldenRows": report.rows["golden"],
        "randomRows": report.rows["random"],
        "equal": report.is_equal,
        "modes": [modes[mode.name] for mode in MODES if mode.name in modes],
    }


def _describe(parity: Parity) -> dict[str, Any]:
    return {
        "mode": parity.mode,
        "status": "equal" if parity.is_equal else "differs",
        "rows": parity.rows,
        "vectors": parity.vectors,
        "errors": parity.errors,
        "vectorBits": parity.vector_bits,
        "predictionDifference": parity.prediction,
        # JSON has no infinity, which stands for values that must be equal and are not
        "toleranceShare": min(parity.tolerance_share, 1e308),
        "differing": dict(parity.differing),
        "first": None if parity.first is None else msgspec.to_builtins(parity.first),
    }


def print_report(console: Console, report: Report) -> None:
    """Print a report for people."""
    rows = f"{report.rows['golden']:,} golden and {report.rows['random']:,} random rows (seed {report.seed})"
    console.print(f"{report.bundle.wire_name}: {rows}", highlight=False, soft_wrap=True)
    # narrow enough for 80 columns
    table = Table("mode", "result", box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for name in ("rows", "bits", "prediction", "tolerance", "degraded", "errors"):
        table.add_column(name, justify="right")
    document = describe_report(report)
    for entry in document["modes"]:
        table.add_row(entry["mode"], Text(entry["status"], _STYLES[entry["status"]]), *_cells(entry))
    console.print(table)
    for name, reason in report.skipped.items():
        console.print(f"{name} was not run: {reason}", highlight=False, markup=False, soft_wrap=True)
    for parity in report.parities.values():
        if parity.first is not None:
            for line in describe_difference(parity, parity.first):
                console.print(line, highlight=False, markup=False, soft_wrap=True)


def _cells(entry: dict[str, Any]) -> list[str]:
    if entry["status"] == "not run":
        return []
    degraded, errors = (entry["differing"].get(kind, 0) for kind in ("degraded", "error"))
    return [
        f"{entry['rows']:,}",
        str(entry["vectorBits"]),
        f"{entry['predictionDifference']:.3g}",
        f"{entry['toleranceShare']:.0%}" if entry["toleranceShare"] < 1e3 else "> 100,000%",
        f"{degraded:,} differ" if degraded else "equal",
        f"{errors:,} differ" if errors else f"{entry['errors']:,}",
    ]


def describe_difference(parity: Parity, first: Difference) -> list[str]:
    """How many rows of a mode differ, and the first of them: in lines."""
    counts = ", ".join(f"{count:,} in {kind}" for kind, count in sorted(parity.differing.items()))
    place = f"{first.kind} {first.column}".strip()
    return [
        f"{parity.mode} differs: rows {counts}",
        f"  {first.sample} row {first.row}, {place}: {first.actual!r}, expected {first.expected!r}",
        f"  {msgspec.json.encode(first.request).decode()}",
    ]
