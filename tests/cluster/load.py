"""Open-loop load: requests leave when they are due, answered or not the earlier ones. Nothing is tried twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Sample:
    """One request.

    Attributes:
        at: When it left, in seconds since the load began.
        variant: Version that answered; empty if none did.
        arm: Variant that answered, as the gateway says, errors too; empty for the gateway itself.
        unit: Value of the header by which units are told apart.
        seconds: To its answer.
        failure: Why it counts as failed; empty if it does not.
    """

    at: float
    variant: str
    unit: str
    seconds: float
    failure: str = ""
    arm: str = ""


@dataclass
class Load:
    """Requests at a steady rate from entering to leaving.

    Args:
        url: Of the predict route.
        host: Value of the header ``Host``.
        rows: Rows to ask for, in turn.
        rate: Requests per second.
        header: Header that names the unit; none without it.
        units: How many units there are.
    """

    url: str
    host: str
    rows: Sequence[dict[str, Any]]
    rate: float = 200.0
    header: str = ""
    units: int = 1000
    samples: list[Sample] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._started

    def wait(self, requests: int) -> None:
        """Until so many more requests are answered, from now on."""
        self.wait_until(lambda: len(self.samples) >= goal) if (goal := len(self.samples) + requests) else None

    def wait_until(self, holds: Callable[[], bool], seconds: float = 180.0) -> None:
        """Until something holds, while the load goes on.

        Raises:
            TimeoutError: if it takes longer.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s")
            # what is asked for is mostly an answer of kubectl, which takes as much of the processor as many requests
            self._stop.wait(0.5)

    @property
    def failures(self) -> list[Sample]:
        """Requests that count as failed."""
        return [sample for sample in self.samples if sample.failure]

    def shares(self, since: float, until: float = float("inf")) -> dict[str, float]:
        """Share of each variant among the answers to requests of a span of time."""
        counts = Counter(sample.variant for sample in self.samples if since <= sample.at < until and not sample.failure)
        return {variant: count / counts.total() for variant, count in counts.items()}

    async def _run(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            tasks: set[asyncio.Task[None]] = set()
            number = 0
            while not self._stop.is_set():
                due = number / self.rate
                if (wait := due - self.now) > 0:
                    await asyncio.sleep(wait)
                task = asyncio.create_task(self._ask(session, number))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                number += 1
            await asyncio.gather(*tasks)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> None:
        at = self.now
        unit = f"u{number % self.units}"
        headers = {"host": self.host, **({self.header: unit} if self.header else {})}
        row = self.rows[number % len(self.rows)]
        variant = failure = arm = ""
        try:
            async with session.post(self.url, json={"instances": [row]}, headers=headers) as response:
                arm = response.headers.get("x-model-variant", "")
                if response.status == 200:
                    variant = (await response.json())["model_version"]
                else:
                    failure = f"{response.status}: {(await response.text())[:200]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = f"{type(error).__name__}: {error}"
        self.samples.append(Sample(at, variant, unit, self.now - at, failure, arm))
