"""Ships a version as a canary, under load, and checks what clients get meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from tandem.telemetry import STAGES
from tandem_cli.local import LocalStack
from tandem_cli.local.progress import heading, verdicts
from tandem_cli.local.runner import RolloutRunner

from checks import REQUESTS, DemoError, check_answers, check_split, check_statuses
from traffic import CONCURRENCY, Answer, Traffic
from train import Trained

BEFORE: Final = 6_000
"""Requests to stable alone: the latency threshold needs 5,000."""

ROLLOUT: Final[dict[str, Any]] = {
    "strategy": {
        "canary": {
            "steps": [{"weight": 10, "minDuration": "3s", "pause": True}, {"weight": 50, "minDuration": "3s"}],
            "bake": "3s",
            "progressDeadline": "30s",
        }
    },
    "analysis": {"interval": "1s", "warmup": "1s", "timeout": "2m", "onTimeout": "abort"},
}
"""The plan of the demo, shorter than a real one."""

POLL_SECONDS: Final = 0.1


class Shipment:
    """One canary, from the first request to the last.

    Args:
        stack: The stack, where stable has all the traffic.
        runner: Its rollout.
        races: The rows of the requests.
        console: The console that shows it.
    """

    def __init__(self, stack: LocalStack, runner: RolloutRunner, races: pd.DataFrame, console: Console) -> None:
        self.traffic = Traffic(stack, races)
        self._stack, self._runner, self._console = stack, runner, console
        self._races = races
        self._heading = ""

    async def ship(self, canary: str, trained: Mapping[str, Trained], *, faulty: bool, requests: int = REQUESTS) -> str:
        """Ship a version.

        Args:
            canary: The version.
            trained: Versions whose answers are checked.
            faulty: Whether it must be caught.
            requests: How many answers to check.

        Returns:
            A sentence about the result.

        Raises:
            DemoError: if the result is not the expected one, or an answer is wrong.
        """
        console, runner = self._console, self._runner
        async with self.traffic.running():
            await self._until(lambda: len(self.traffic.answers) >= BEFORE)
            console.print(f"{len(self.traffic.answers):,} requests; {latencies(self.traffic.answers)}", soft_wrap=True)
            console.rule(f"Canary of {canary}", align="left")
            console.print(f"$ tandem rollout start {runner.name} --version {canary}", markup=False)
            runner.send("start", version=canary, comment="make demo")
            await self._until(lambda: self._state in ("AwaitingApproval", "Promoted", "Aborted"))
            if self._state == "AwaitingApproval":
                await self._check_answers(trained, requests)
            await self._until(lambda: self._state in ("Promoted", "Aborted"))
        console.print(check_statuses(self.traffic.answers, faulty=canary if faulty else ""), soft_wrap=True)
        reason = runner.now.run.message if runner.now.run else ""
        if (self._state == "Promoted") == faulty:
            raise DemoError(f"{canary} should not be {self._state.lower()}: {reason}")
        if faulty:
            return f"{canary} was caught and rolled back: {reason}"
        return f"everything is as it must be, {canary} is promoted: {reason}"

    async def _check_answers(self, trained: Mapping[str, Trained], requests: int) -> None:
        """The work of a person at a gate: check the answers, then resume the run."""
        weights = self._stack.weights

        def answers() -> list[Answer]:
            return [answer for answer in self.traffic.answers if answer.weights == weights]

        await self._until(lambda: self._state != "AwaitingApproval" or len(answers()) >= requests)
        if self._state != "AwaitingApproval":
            return
        console, sample = self._console, answers()
        console.print(examples(self._races, sample))
        console.print(
            "(decode to post: milliseconds in each stage of the transformer, of the batch that the row was in)"
        )
        for line in (
            latencies(sample),
            check_split(weights, sample),
            *check_answers(trained, self._races, sample),
            f"$ tandem rollout resume {self._runner.name} --reason 'the answers are right'",
        ):
            console.print(line, soft_wrap=True, markup=False)
        self._runner.send("resume", comment="the answers are right")

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition, and print each change of the rollout meanwhile."""
        while True:
            self._stack.check()
            self._runner.check()
            self.traffic.check()
            self._print_heading()
            if holds():
                return
            await asyncio.sleep(POLL_SECONDS)

    def _print_heading(self) -> None:
        moment = self._runner.now
        text = heading(moment)
        if text == self._heading:
            return
        self._heading = text
        self._console.print(text, soft_wrap=True, markup=False)
        # once stable gets no requests, there is no comparison
        if (
            moment.run is not None
            and moment.run.state in ("AwaitingApproval", "Scaling", "Aborting")
            and moment.judgement.results
        ):
            self._console.print(verdicts(moment.judgement.results))

    @property
    def _state(self) -> str:
        return self._runner.now.run.state if self._runner.now.run else ""


def examples(races: pd.DataFrame, answers: Sequence[Answer], count: int = 5) -> Table:
    """Some predictions with the real times and milliseconds by stage, of each variant, and a degraded one."""
    table = Table("athlete", "by", "predicted", "real", "degraded", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for stage in STAGES:
        table.add_column(stage, justify="right")
    indices = list(range(count - 2))
    indices += [i for i, answer in enumerate(answers) if answer.variant != answers[0].variant][:1]
    indices += [i for i, answer in enumerate(answers) if "degraded" in answer.prediction][:1]
    for index in dict.fromkeys(indices):
        answer = answers[index]
        if answer.status != 200:
            continue
        race = races.iloc[answer.race]
        degraded = ", ".join(why["reason"] for why in answer.prediction.get("degraded", {}).values())
        real = str(timedelta(seconds=race["net_time_s"]))
        stages = (f"{answer.stages[stage]:.2f}" for stage in STAGES)
        predicted = answer.prediction["finish_time"]
        table.add_row(race["athlete_id"], answer.variant, predicted, real, degraded, *stages)
    return table


def latencies(answers: Sequence[Answer]) -> str:
    """Quantiles of the latency at the client."""
    quantiles = np.quantile([answer.milliseconds for answer in answers], [0.5, 0.95, 0.99])
    p50, p95, p99 = (f"{value:.1f}" for value in quantiles)
    return f"seen by the client, {CONCURRENCY} at a time: p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"
