"""Moves the rollout of a local stack along, beside whatever else is done."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from tandem import TandemError
from tandem_cli.local import manifest as manifests
from tandem_cli.local.envoy import ADMIN_URL
from tandem_cli.local.rollout import LocalBackend, StateKeeper
from tandem_cli.local.stack import LocalStack
from tandem_cli.rollout.local import here
from tandem_cli.rollout.state import Asked, Stack, StackFiles, stacks
from tandem_cli.rollout.training import predictions
from tandem_rollout.analyst import Analyst, Judgement
from tandem_rollout.cause import Cause
from tandem_rollout.driver import advance
from tandem_rollout.engine.run import Run, Verb
from tandem_rollout.sources import Source
from tandem_rollout.sources.fetch import open_client
from tandem_rollout.sources.open import open_source
from tandem_rollout.sources.scrape import ScrapeSource
from tandem_rollout.status import RolloutStatus

MOVE_SECONDS: Final = 0.25
"""From one move to the next."""

SCRAPE_SECONDS: Final = 2.0
"""Longest time of a read of counters."""


@dataclass(frozen=True)
class Moment:
    """How a rollout stands.

    Attributes:
        run: The run; None before the first.
        judgement: What the metrics said when they were looked at last.
        status: The same as it was written down.
    """

    run: Run | None = None
    judgement: Judgement = field(default_factory=Judgement)
    status: RolloutStatus = field(default_factory=RolloutStatus)


class RolloutRunner:
    """The rollout of a stack that runs; a context manager, inside that of the stack.

    Args:
        stack: The stack.
        settings: ``[tool.tandem]`` of its package.
        canary: Version to begin with; None to wait until a person starts one.
        source: What reads the counters; by default what the analysis names.
    """

    def __init__(
        self,
        stack: LocalStack,
        settings: Mapping[str, Any],
        *,
        canary: str | None = None,
        source: Source | None = None,
    ) -> None:
        weights = stack.weights
        version = canary or max(weights, key=lambda name: weights[name])
        self.name = _free(manifests.rollout_name(stack.model))
        self._files = StackFiles(self.name)
        self._manifest = manifests.make(settings, name=self.name, model=stack.model, version=version)
        self._backend = LocalBackend(stack, self._files, self._manifest)
        self._told = Stack(
            pid=os.getpid(),
            url=stack.url,
            admin_socket=str(stack.admin_socket),
            versions=tuple(variant.name for variant in stack.variants),
            predictions={
                variant.name: counted
                for variant in stack.variants
                if (counted := predictions(variant.bundle)) is not None
            },
        )
        self._source = source
        self._sockets = {ADMIN_URL: stack.admin_socket}
        self._now = Moment()
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="rollout", daemon=True)

    def __enter__(self) -> Self:
        self._files.begin(self._told, self._manifest)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._files.end(os.getpid())

    @property
    def now(self) -> Moment:
        """How the rollout stands."""
        return self._now

    def ask(self, verb: Verb, *, version: str = "", comment: str = "") -> None:
        """Ask for something, as ``tandem rollout`` does.

        Args:
            verb: What to do.
            version: With ``start``, the version that is to follow.
            comment: Why, in the words of whoever asks.
        """
        self._files.ask(Asked(id=uuid.uuid4().hex, verb=verb, by=here(), comment=comment, version=version))

    def check(self) -> None:
        """Make sure that it goes on.

        Raises:
            BaseException: what has ended it.
        """
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        try:
            asyncio.run(self._move_on())
        except BaseException as error:
            # check() raises it where somebody sees it
            self._failure = error

    async def _move_on(self) -> None:
        source = self._source or self._open_source()
        analyst = Analyst(source, StateKeeper(self._files))
        try:
            while not self._stopping.is_set():
                await self._move(analyst)
                await asyncio.to_thread(self._stopping.wait, MOVE_SECONDS)
        finally:
            await source.close()

    def _open_source(self) -> Source:
        if self._backend.analysis.source != "pods":
            return open_source(self._backend.analysis)
        return ScrapeSource(client=open_client(seconds=SCRAPE_SECONDS, sockets=self._sockets))

    async def _move(self, analyst: Analyst) -> None:
        backend, run, now = self._backend, self._now.run, time.time()
        judgement, trouble = Judgement(), None
        try:
            run, judgement = await advance(backend, analyst, backend.schedule, backend.analysis, run, now)
        except (TandemError, OSError) as error:
            # what was written is made so with the next move; the stack's own check tells of a process that has ended
            run, trouble = backend.written or run, Cause("StackError", str(error))
        backend.tell(run, judgement, now, trouble)
        self._now = Moment(run, backend.judgement, backend.status)


def _free(name: str) -> str:
    """A name that no other stack has."""
    taken = set(stacks())
    others = (f"{name[:19].rstrip('-')}-{number}" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], others) if free not in taken)
