"""``make sim``: our engine, and other rules, on simulated traffic."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import cpu
from benchmarks.rollouts import report
from benchmarks.rollouts.findings import Found, last_line
from benchmarks.rollouts.scenario import Scenario, scenarios
from tandem_rollout.simulation.outcome import Outcomes, joined
from tandem_rollout.simulation.rollouts import batches, simulate_batch

RESULTS = Path(__file__).parent.parent / "results"
MAIN, OTHER, QUICK = 20_000, 10_000, 400
"""Rollouts of a main scenario, of another, and of any in a quick look."""


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate rollouts; table, raw numbers, plots, and one line of figures."""
    arguments = _parse(argv)
    console = Console(width=150 if not sys.stdout.isatty() else None)
    chosen = [each for each in scenarios() if arguments.only in each.name]
    if not chosen:
        console.print(f"no scenario has {arguments.only!r} in its name", markup=False)
        return 2
    found = _run(chosen, arguments, console)
    report.show(found, console)
    report.write(found, arguments.results, cpu.machine())
    print(last_line(found))
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


@dataclass(frozen=True)
class _Job:
    """A batch of a scenario."""

    scenario: int
    number: int
    size: int


def _run(chosen: Sequence[Scenario], arguments: argparse.Namespace, console: Console) -> list[Found]:
    jobs = [
        _Job(place, number, size)
        for place, scenario in enumerate(chosen)
        for number, size in enumerate(batches(_rollouts(scenario, arguments)))
    ]
    done: dict[_Job, tuple[Outcomes, list[Outcomes]]] = {}
    columns = (*Progress.get_default_columns()[:3], MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not sys.stdout.isatty()) as progress:
        task = progress.add_task("rollouts", total=sum(job.size for job in jobs))
        for job, result in _done(chosen, jobs, arguments.processes):
            done[job] = result
            progress.advance(task, job.size)
    found = []
    for place, scenario in enumerate(chosen):
        parts = [done[job] for job in jobs if job.scenario == place]
        others = {
            name: joined([each for _, rules in parts for each in rules[at : at + 1]])
            for at, name in enumerate(scenario.rules)
        }
        found.append(Found(scenario, joined([engine for engine, _ in parts]), others))
    return found


def _rollouts(scenario: Scenario, arguments: argparse.Namespace) -> int:
    if arguments.rollouts:
        return int(arguments.rollouts)
    return QUICK if arguments.quick else MAIN if scenario.main else OTHER


def _done(
    chosen: Sequence[Scenario], jobs: Sequence[_Job], processes: int
) -> Iterator[tuple[_Job, tuple[Outcomes, list[Outcomes]]]]:
    if processes < 2:
        for job in jobs:
            yield job, _simulate(chosen[job.scenario], job)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_simulate, chosen[job.scenario], job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _simulate(scenario: Scenario, job: _Job) -> tuple[Outcomes, list[Outcomes]]:
    rules = scenario.make if scenario.rules else None
    return simulate_batch(scenario.case, job.size, seed=scenario.seed, number=job.number, rules=rules)


if __name__ == "__main__":
    sys.exit(main())
