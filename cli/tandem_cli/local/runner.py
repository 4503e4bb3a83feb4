"""Runs the rollout of a local stack, in a thread of its own."""

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

import msgspec

from tandem import TandemError
from tandem_cli.local import manifest as manifests
from tandem_cli.local.envoy import ADMIN_URL
from tandem_cli.local.rollout import LocalBackend, StateKeeper
from tandem_cli.local.stack import LocalStack
from tandem_cli.rollout.targets.local import describe_user
from tandem_cli.rollout.targets.stack_files import Stack, StackCommand, StackFiles, list_stacks
from tandem_cli.rollout.training_predictions import read_predictions
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import RegistryStatus, RolloutStatus
from tandem_rollout.engine.run import Run, Verb
from tandem_rollout.engine.serialization import from_status
from tandem_rollout.runner.analyst import Analyst, Judgement
from tandem_rollout.runner.driver import advance
from tandem_rollout.sources import MetricSource
from tandem_rollout.sources.fetch import open_client
from tandem_rollout.sources.open import open_source
from tandem_rollout.sources.scrape import ScrapeSource

RECONCILE_SECONDS: Final = 0.25
"""From one reconciliation to the next."""

SCRAPE_SECONDS: Final = 2.0
"""Timeout of a scrape of counters."""


@dataclass(frozen=True)
class Moment:
    """The state of a rollout at one moment.

    Attributes:
        run: The run; None before the first.
        judgement: What the metrics said at the last sample.
        status: The status as it was written last.
    """

    run: Run | None = None
    judgement: Judgement = field(default_factory=Judgement)
    status: RolloutStatus = field(default_factory=RolloutStatus)


class RolloutRunner:
    """The rollout of a running stack; a context manager, to be entered inside that of the stack.

    Args:
        stack: The stack.
        settings: ``[tool.tandem]`` of its package.
        canary: Version to start with; None to wait until a user starts one.
        source: Reads the counters; by default the source that the analysis names.
        status: The status from which the rollout goes on, with the alias that the stack follows, if it follows one.
    """

    def __init__(
        self,
        stack: LocalStack,
        settings: Mapping[str, Any],
        *,
        canary: str | None = None,
        source: MetricSource | None = None,
        status: RolloutStatus | None = None,
    ) -> None:
        weights = stack.weights
        version = canary or max(weights, key=lambda name: weights[name])
        self.name = free_name(manifests.rollout_name(stack.model))
        self._files = StackFiles(self.name)
        self._manifest = manifests.build_manifest(settings, name=self.name, model=stack.model, version=version)
        self._resumed = status is not None
        status = status or RolloutStatus()
        self._backend = LocalBackend(stack, self._files, self._manifest, status)
        self._stack = stack
        self._description = _describe(stack)
        self._source = source
        self._sockets = {ADMIN_URL: stack.admin_socket}
        self._now = Moment(from_status(status.run), status=status)
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rollout", daemon=True)

    def __enter__(self) -> Self:
        manifest = (
            {**self._manifest, "status": msgspec.to_builtins(self._now.status)} if self._resumed else self._manifest
        )
        self._files.begin(self._description, manifest, resumed=self._resumed)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        # the stack stops its processes after this, so that no reconciliation takes their end for a failure
        self._thread.join()
        self._files.end(os.getpid())

    @property
    def now(self) -> Moment:
        """The present state of the rollout."""
        return self._now

    @property
    def status(self) -> RolloutStatus:
        """The status as it was written last, with the alias as it was recorded last."""
        return msgspec.structs.replace(self._now.status, registry=self._backend.registry)

    def record(self, registry: RegistryStatus) -> None:
        """Record how far the alias is followed; the version becomes the desired one with the next reconciliation.

        Args:
            registry: The alias that the stack follows. The stack has its version.
        """
        self._backend.registry = registry

    def send(self, verb: Verb, *, version: str = "", comment: str = "") -> None:
        """Send a command, as ``tandem rollout`` does.

        Args:
            verb: The command.
            version: With ``start``, the version to start.
            comment: Why, in the user's own words, for the history.
        """
        command = StackCommand(id=uuid.uuid4().hex, verb=verb, by=describe_user(), comment=comment, version=version)
        self._files.write_command(command)

    def check(self) -> None:
        """Check that the rollout still runs.

        Raises:
            BaseException: the exception that ended its thread.
        """
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._reconcile_all())
        except BaseException as error:
            # check() raises it in the main thread
            self._failure = error

    async def _reconcile_all(self) -> None:
        source = self._source or self._open_source()
        analyst = Analyst(source, StateKeeper(self._files))
        try:
            while not self._stopping.is_set():
                await self._reconcile(analyst)
                await asyncio.to_thread(self._stopping.wait, RECONCILE_SECONDS)
        finally:
            await source.close()

    def _open_source(self) -> MetricSource:
        if self._backend.analysis.source != "pods":
            return open_source(self._backend.analysis)
        # Envoy's statistics are behind a Unix socket here
        return ScrapeSource(client=open_client(seconds=SCRAPE_SECONDS, sockets=self._sockets))

    async def _reconcile(self, analyst: Analyst) -> None:
        backend, run, now = self._backend, self._now.run, time.time()
        if tuple(variant.name for variant in self._stack.variants) != self._description.versions:
            self._description = _describe(self._stack)
            self._files.write_stack(self._description)
        judgement, problem = Judgement(), None
        try:
            run, judgement = await advance(backend, analyst, backend.schedule, backend.analysis, run, now)
        except (TandemError, OSError) as error:
            # the next reconciliation applies what was written; the check of the stack reports a process that has ended
            run, problem = backend.written or run, Cause("StackError", str(error))
        backend.write_status(run, judgement, now, problem)
        self._now = Moment(run, backend.judgement, backend.status)


def _describe(stack: LocalStack) -> Stack:
    variants = stack.variants
    histograms = {variant.name: read_predictions(variant.bundle) for variant in variants}
    return Stack(
        pid=os.getpid(),
        url=stack.url,
        admin_socket=str(stack.admin_socket),
        versions=tuple(variant.name for variant in variants),
        predictions={name: histogram for name, histogram in histograms.items() if histogram is not None},
    )


def free_name(name: str) -> str:
    """A name of a rollout that no stack has.

    Args:
        name: The name if it is free.
    """
    names = set(list_stacks())
    # a name of a rollout has 22 characters at most
    numbered = (f"{name[:19].rstrip('-')}-{number}" for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([name], numbered) if candidate not in names)
