"""The work, in pieces that do not depend on who does them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache

from benchmarks.rollouts.scenario import Scenario, scenarios
from tandem_rollout.simulation.outcome import Outcomes
from tandem_rollout.simulation.rollouts import simulate_batch

Done = tuple[Outcomes, list[Outcomes]]
"""Outcomes of our engine and of each other rule."""


@dataclass(frozen=True)
class Job:
    """A batch of a scenario.

    Attributes:
        scenario: Its name.
        number: Which batch of it.
        size: Rollouts.
    """

    scenario: str
    number: int
    size: int


def done(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Done]]:
    """Do jobs, and give them as they are done."""
    if processes < 2:
        for job in jobs:
            yield job, _do(job)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_do, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _do(job: Job) -> Done:
    scenario = _by_name()[job.scenario]
    if scenario.against is not None:
        ours, rival = (
            simulate_batch(case, job.size, seed=scenario.seed, number=job.number)[0]
            for case in (scenario.case, scenario.against)
        )
        return ours, [rival]
    rules = scenario.make if scenario.rules else None
    return simulate_batch(scenario.case, job.size, seed=scenario.seed, number=job.number, rules=rules)


@cache
def _by_name() -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in scenarios()}
