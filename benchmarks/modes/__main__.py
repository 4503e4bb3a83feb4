"""``python -m benchmarks.modes``: parity, batch and joins; the last line has one figure of each."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import cpu
from benchmarks.case import prepare
from benchmarks.modes import batch, joins
from tandem_cli.output import Console
from tandem_cli.parity.modes import MODES
from tandem_cli.parity.report import describe_report, print_report
from tandem_cli.parity.running import run_parity

PARTS = ("parity", "batch", "joins")
RESULTS = Path(__file__).parents[1] / "results"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write ``modes.json``, and print the last line.

    Returns:
        0, or 1 if a mode differs or a join leaks.
    """
    arguments = _parse(argv)
    console = Console(width=130 if not sys.stdout.isatty() else None)
    findings: dict[str, Any] = {"settings": _settings(arguments), "machine": cpu.machine()}
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        if "parity" in arguments.only:
            findings["parity"] = _parity(directory, arguments.rows, console)
        if "batch" in arguments.only:
            console.print(f"{arguments.batch_rows:,} rows beside bare ONNX Runtime …")
            findings["batch"] = batch.measure(directory, rows=arguments.batch_rows, rounds=arguments.rounds)
        if "joins" in arguments.only:
            console.print(f"{arguments.spine_rows:,} rows joined with {arguments.feature_rows:,} …")
            findings["joins"] = joins.measure(
                directory,
                spine_rows=arguments.spine_rows,
                feature_rows=arguments.feature_rows,
                rounds=arguments.rounds,
            )
    figures = _figures(findings)
    findings["figures"] = figures
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "modes.json").write_text(json.dumps(findings, indent=1) + "\n")
    print("modes: " + " ".join(f"{name}={value:g}" for name, value in figures.items()))
    is_wrong = not findings.get("parity", {}).get("equal", True) or bool(figures.get("leaks"))
    return int(is_wrong)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.modes", description=main.__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="random rows in every mode")
    parser.add_argument("--batch-rows", type=int, default=2_000_000)
    parser.add_argument("--spine-rows", type=int, default=1_000_000)
    parser.add_argument("--feature-rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=_parts, default=list(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where modes.json goes")
    return parser.parse_args(argv)


def _settings(arguments: argparse.Namespace) -> dict[str, object]:
    return {name: value for name, value in vars(arguments).items() if name != "results"}


def _parity(directory: Path, rows: int, console: Console) -> dict[str, Any]:
    console.print(f"{rows:,} random rows in every mode …")
    bundle = prepare(directory).bundle
    report = run_parity(bundle, MODES, rows=rows)
    print_report(console, report)
    return describe_report(report)


def _figures(findings: dict[str, Any]) -> dict[str, float]:
    figures: dict[str, float] = {}
    if modes := findings.get("parity", {}).get("modes"):
        figures["parity_bits"] = max(mode.get("vectorBits", 0) for mode in modes)
    if runs := findings.get("batch"):
        seconds = {side: median(run["seconds"] for run in runs if run["side"] == side) for side in batch.SIDES}
        figures["batch_vs_ort"] = round(seconds["bare"] / seconds["tandem"], 3)
        figures["batch_rss_mb"] = max(run["rss_mb"] for run in runs if run["side"] == "tandem")
    if joined := findings.get("joins"):
        figures["asof_mrows_s"] = round(joined["spine_rows"] / median(joined["tandem_s"]) / 1e6, 3)
        figures["asof_vs_duckdb"] = round(median(joined["tandem_s"]) / median(joined["duckdb_s"]), 3)
        figures["leaks"] = joined["leaks"]
    return figures


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if strange := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(strange))}")
    return parts


if __name__ == "__main__":
    sys.exit(main())
