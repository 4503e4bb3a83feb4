"""``make sim``: our engine, and other rules, on simulated traffic."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import cpu
from benchmarks.rollouts import report
from benchmarks.rollouts.findings import Found, last_line, outside
from benchmarks.rollouts.job import Done, Job, done
from benchmarks.rollouts.scenario import Scenario, scenarios
from tandem_rollout.simulation.outcome import joined
from tandem_rollout.simulation.rollouts import batches

RESULTS = Path(__file__).parent.parent / "results"
MAIN, OTHER, QUICK = 20_000, 10_000, 400
"""Rollouts of a main scenario, of another one, and of any with ``--quick``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate rollouts; table, raw numbers, plots, and one line of figures."""
    arguments = _parse(argv)
    console = Console(width=220 if not sys.stdout.isatty() else None)
    chosen = [scenario for scenario in scenarios() if arguments.only in scenario.name]
    if not chosen:
        console.print(f"no scenario has {arguments.only!r} in its name", markup=False)
        return 2
    findings = _run(chosen, arguments, console)
    report.show(findings, console)
    report.write(findings, arguments.results, cpu.machine())
    for line in outside(findings):
        print(line)
    print(last_line(findings))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts", description=main.__doc__)
    parser.add_argument(
        "--rollouts",
        type=int,
        help=f"of each scenario; default {MAIN} of the main ones, else {OTHER}",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rollouts of each scenario")
    parser.add_argument("--only", default="", help="scenarios with this in their name")
    parser.add_argument("--processes", type=int, default=min(2, multiprocessing.cpu_count()))
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rollouts.json and the plots go")
    return parser.parse_args(argv)


def _run(chosen: Sequence[Scenario], arguments: argparse.Namespace, console: Console) -> list[Found]:
    jobs = [
        Job(scenario.name, number, size)
        for scenario in chosen
        for number, size in enumerate(batches(_rollouts(scenario, arguments)))
    ]
    results: dict[Job, Done] = {}
    columns = (*Progress.get_default_columns()[:3], MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("rollouts", total=sum(job.size for job in jobs))
        for job, result in done(jobs, arguments.processes):
            results[job] = result
            progress.advance(task, job.size)
    findings = []
    for scenario in chosen:
        parts = [results[job] for job in jobs if job.scenario == scenario.name]
        rivals = {
            name: joined([outcomes for _, rules in parts for outcomes in rules[at : at + 1]])
            for at, name in enumerate(scenario.rules)
        }
        findings.append(Found(scenario, joined([engine for engine, _ in parts]), rivals))
    return findings


def _rollouts(scenario: Scenario, arguments: argparse.Namespace) -> int:
    if arguments.rollouts:
        return int(arguments.rollouts)
    return QUICK if arguments.quick else MAIN if scenario.main else OTHER


if __name__ == "__main__":
    sys.exit(main())
