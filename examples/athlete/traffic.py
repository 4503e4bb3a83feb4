"""Requests of real finishers, many at a time, for as long as the demo wants them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pandas as pd
from tandem.request_forms import rows_of
from tandem_cli.local import LocalStack
from tandem_rollout.render.route_rules import PINNED_VARIANT_HEADER

from races import inputs_of

CONCURRENCY = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got.

    Attributes:
        race: Which race it asked about: index into the races.
        variant: Which variant answered; empty for Envoy itself.
        prediction: The prediction of its one row; empty where there is none.
        status: HTTP status.
        stages: Milliseconds by stage, as the header ``Server-Timing`` tells.
        milliseconds: From the client's view.
        weights: The weights that were set from its beginning to its end; None where they changed meanwhile.
    """

    race: int
    variant: str
    prediction: dict[str, Any] = field(repr=False)
    status: int = 200
    stages: dict[str, float] = field(default_factory=dict, repr=False)
    milliseconds: float = 0.0
    weights: dict[str, int] | None = None


class Traffic:
    """Asks for each race in turn, through Envoy, and keeps the answers.

    Args:
        stack: The stack, which runs.
        races: What to ask about.
    """

    def __init__(self, stack: LocalStack, races: pd.DataFrame) -> None:
        bundle = stack.variants[0].bundle
        self.answers: list[Answer] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = stack
        self._rows = rows_of(bundle.contract, inputs_of(bundle.model, races).request)
        self._url = f"{stack.url}/v1/models/{stack.model}:predict"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Traffic]:
        """Ask for as long as the body runs."""
        numbers = itertools.cycle(range(len(self._rows)))
        headers = {"x-explain": "vector", "x-server-timing": "1"}
        connector = aiohttp.TCPConnector(limit=CONCURRENCY)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            self._tasks = [asyncio.create_task(self._ask(session, numbers)) for _ in range(CONCURRENCY)]
            try:
                yield self
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks)

    def check(self) -> None:
        """Make sure that it goes on.

        Raises:
            Exception: what has ended it.
        """
        for task in self._tasks:
            if task.done():
                task.result()

    async def _ask(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        for number in numbers:
            weights, started = self._stack.weights, time.perf_counter()
            async with session.post(self._url, json={"instances": [self._rows[number]]}) as response:
                body = await response.json() if response.status == 200 else {}
            answer = Answer(
                race=number,
                variant=response.headers.get(PINNED_VARIANT_HEADER, ""),
                prediction=body["predictions"][0] if body else {},
                status=response.status,
                stages=_stages(response.headers.get("server-timing", "")),
                milliseconds=(time.perf_counter() - started) * 1000,
                weights=weights if self._stack.weights == weights else None,
            )
            self.answers.append(answer)


def _stages(server_timing: str) -> dict[str, float]:
    parts = (part.strip().partition(";dur=") for part in server_timing.split(",") if part)
    return {name: float(duration) for name, _, duration in parts}
