"""A local stack that follows an alias of a registry, in a thread of its own."""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import msgspec

from tandem import TandemError
from tandem_cli.local.changing import ChangingStack
from tandem_cli.local.pair import LocalVariant
from tandem_cli.local.runner import RolloutRunner
from tandem_cli.local.status import serving_variant
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import RegistryStatus, RolloutStatus
from tandem_rollout.engine.alias import AliasReading, AliasStep, RunEnd, follow_alias, versions_to_read
from tandem_rollout.engine.run import ENDS

if TYPE_CHECKING:
    from tandem_offline.registry import FollowedAlias, Registry

POLL_SECONDS: Final = 5.0
"""From one reading of an alias to the next."""

UNUSABLE_SECONDS: Final = 60.0
"""Until a version that cannot be served is tried again."""

_MAX_STEPS: Final = 20
_JOIN_SECONDS: Final = 2.0


def version_number(variant: str) -> int | None:
    """The version of the registry that a variant serves, which is its name; None if it is none."""
    return int(variant) if variant.isdecimal() else None


def tag_key(rollout: str) -> str:
    """Key of the tag of a version in which a stack of this machine records the ends of its runs.

    Args:
        rollout: Name of its rollout.
    """
    # MLflow takes no other characters in keys
    return f"tandem.rollout.{re.sub(r'[^A-Za-z0-9.-]', '-', socket.gethostname())}.{rollout}"


@dataclass(frozen=True, slots=True)
class _Fault:
    """A version that cannot be served, and until when on a monotonic clock it is not tried again."""

    number: int
    cause: Cause
    until: float


class AliasFollower:
    """Follows an alias: starts the versions that it names, and records the ends of runs; a context manager.

    It is entered inside the stack and its rollout. While the registry cannot be read, nothing changes.

    Args:
        registry: The registry, from which versions are downloaded.
        alias: The alias.
        stack: The stack.
        runner: Its rollout, with the status of the alias.
        directory: Directory of bundles.
        seconds: From one reading of the alias to the next.
    """

    def __init__(
        self,
        registry: Registry,
        alias: FollowedAlias,
        stack: ChangingStack,
        runner: RolloutRunner,
        *,
        directory: Path,
        seconds: float = POLL_SECONDS,
    ) -> None:
        self._registry, self._alias, self._stack, self._runner = registry, alias, stack, runner
        self._directory, self._seconds = directory, seconds
        self._fault: _Fault | None = None
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alias", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        # it may wait for the registry, or for a pair that the stack stops next
        self._thread.join(_JOIN_SECONDS)

    def check(self) -> None:
        """Check that the alias is still followed.

        Raises:
            BaseException: the exception that ended the thread.
        """
        if self._failure is not None:
            raise self._failure

    def poll(self) -> None:
        """Follow the alias until nothing is left to do, or something does not work."""
        for _ in range(_MAX_STEPS):
            status = self._runner.status
            before = status.registry or RegistryStatus()
            after = self._apply(status, before, follow_alias(status, self._read(status), version_number))
            if self._stopping.is_set() or after == before:
                return
            self._runner.record(after)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.poll()
                self._stopping.wait(self._seconds)
        except BaseException as error:
            # check() raises it in the main thread; a stack that is being stopped fails in many ways
            self._failure = None if self._stopping.is_set() else error

    def _read(self, status: RolloutStatus) -> AliasReading | Cause:
        from tandem_offline.registry import RegistryError

        try:
            state = self._alias.read(versions_to_read(status, version_number))
        except RegistryError as error:
            return Cause("RegistryUnreachable", str(error))
        return AliasReading(version=state.version, ends={number: _read_end(tag) for number, tag in state.tags.items()})

    def _apply(self, status: RolloutStatus, before: RegistryStatus, step: AliasStep) -> RegistryStatus:
        """Make the changes of a step. Returns the status of the registry from now on."""
        from tandem_offline.registry import RegistryError

        after = step.status
        if step.write is None and after.version != before.version and (cause := self._known_fault(after.version)):
            return _with_cause(before, cause)
        try:
            if step.write is not None:
                self._write(step.write.end, step.write.alias)
            elif after.version != before.version or after.command not in ("", before.command):
                self._prepare(status, after.version)
        except RegistryError as error:
            return _with_cause(before, Cause("RegistryUnreachable", str(error)))
        except TandemError as error:
            cause = Cause("VersionUnusable", f"version {after.version} cannot be served: {error}")
            self._fault = _Fault(after.version, cause, time.monotonic() + UNUSABLE_SECONDS)
            return _with_cause(before, cause)
        return after if after.digest else msgspec.structs.replace(after, digest=self._digest(after.version))

    def _known_fault(self, number: int) -> Cause | None:
        """Why a version cannot be served; None if it is not known, or it is time to try again."""
        fault = self._fault
        return fault.cause if fault is not None and fault.number == number and time.monotonic() < fault.until else None

    def _write(self, end: RunEnd, alias: int | None) -> None:
        if alias is not None:
            reason = f"{end.reason}: {end.message}" if end.message else end.reason
            self._alias.put_back(alias, expected=end.canary, reason=reason)
        self._alias.tag(end.canary, end.outcome, msgspec.json.encode(end).decode())

    def _prepare(self, status: RolloutStatus, number: int) -> None:
        """Start the pair of a version, unless it runs.

        Raises:
            RegistryError: if the registry cannot be read.
            TandemError: if the version cannot be served.
        """
        from tandem_offline.registry import Reference

        name, pairs = str(number), self._stack.pairs
        if name in pairs and pairs[name].runs:
            return
        model = status.registry.model if status.registry is not None else ""
        version = self._registry.resolve(Reference(model, number))
        if not version.digest:
            raise TandemError(f"{version.reference} is no bundle; `tandem register` registers bundles")
        bundle = self._registry.download(version, self._directory)
        self._drop_unneeded(status)
        self._stack.add(LocalVariant(name, bundle, 0))

    def _drop_unneeded(self, status: RolloutStatus) -> None:
        """Remove the variants that neither serve nor take part in a run."""
        run = status.run
        needed = {serving_variant(status)}
        needed |= {run.stable, run.canary} if run is not None and run.state not in ENDS else set()
        for name in [name for name, weight in self._stack.weights.items() if not weight and name not in needed]:
            self._stack.remove(name)

    def _digest(self, number: int) -> str:
        variants = (variant for variant in self._stack.variants if variant.name == str(number))
        return next((variant.bundle.digest for variant in variants), "")


def _with_cause(registry: RegistryStatus, cause: Cause) -> RegistryStatus:
    return msgspec.structs.replace(registry, reason=cause.reason, message=cause.message)


def _read_end(tag: str | None) -> RunEnd | None:
    """The end of a run in a tag; None if there is none, or if another program has written something else."""
    try:
        return None if tag is None else msgspec.json.decode(tag, type=RunEnd)
    except msgspec.MsgspecError:
        return None
