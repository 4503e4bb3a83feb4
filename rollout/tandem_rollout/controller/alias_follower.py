"""Before the stages of a pass: follows the alias of a rollout in its registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol

import msgspec

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.fields import BUNDLE_DIGEST
from tandem_rollout.api.spec import RegistryAlias, Rollout
from tandem_rollout.api.status import RegistryStatus, RolloutStatus
from tandem_rollout.controller.report import Reporter
from tandem_rollout.engine.alias import (
    AliasReading,
    RegistryWrite,
    RunEnd,
    follow_alias,
    open_ends,
    versions_to_read,
)
from tandem_rollout.render.registered import with_registered_bundle
from tandem_rollout.render.revision import Revision
from tandem_rollout.sources.mlflow import DIGEST_TAG, VERDICT_TAG, AliasTags, RegistryError

POLL_S: Final = 30.0
"""Seconds between two readings of an alias."""

_MAX_STEPS: Final = 20


class Registry(Protocol):
    """A registry. See :class:`tandem_rollout.sources.mlflow.MlflowRegistry`."""

    async def read(self, model: str, alias: str, versions: AbstractSet[int], *, known: int) -> AliasTags:
        """Read an alias, and the tags of versions."""
        ...

    async def put_back(self, model: str, alias: str, version: int, *, expected: int, reason: str) -> None:
        """Point an alias to another version, if it still names the expected one."""
        ...

    async def tag(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        ...

    async def close(self) -> None:
        """Close the registry."""
        ...


class AliasFollower:
    """Follows the aliases of rollouts. Each registry is opened once.

    Args:
        opened: Opens a registry by its address.
        clock: Seconds since the epoch.
    """

    def __init__(self, opened: Callable[[str], Registry], clock: Callable[[], float]) -> None:
        self._open = opened
        self._clock = clock
        self._registries: dict[str, Registry] = {}
        self._due: dict[tuple[str, str], float] = {}

    def forget(self, namespace: str, name: str) -> None:
        """Forget a deleted rollout."""
        self._due.pop((namespace, name), None)

    def due(self, rollout: Rollout) -> float:
        """Time of the next reading, in seconds since the epoch; infinite for a rollout that follows no alias."""
        if rollout.spec.registry is None:
            return float("inf")
        return self._due.get((rollout.namespace, rollout.name), 0.0)

    async def follow(self, manifest: Mapping[str, Any], rollout: Rollout, reporter: Reporter) -> RegistryStatus:
        """Follow the alias of a rollout until nothing is left to do, or something does not work.

        Args:
            manifest: The rollout, as the API server has it.
            rollout: The parsed rollout, which follows an alias.
            reporter: Writes its status, with each step.

        Returns:
            The status of the registry; without a digest as long as no version is known.

        Raises:
            WriteError: The status cannot be written.
            ValueError: The rollout follows no alias.
        """
        alias = rollout.spec.registry
        if alias is None:
            raise ValueError("the rollout follows no alias")
        key = rollout.namespace, rollout.name
        before = reporter.before(manifest)
        registry = before.registry or _first_status(before, alias)
        ended = any(open_ends(before, registry.revisions.get)) and not registry.reason
        # a run that has just ended is recorded at once
        if not manifest["metadata"].get("deletionTimestamp") and (ended or self._due.get(key, 0.0) <= self._clock()):
            self._due[key] = self._clock() + POLL_S
            registry = await self._poll(manifest, rollout, alias, reporter)
        registry = _with_revision(registry, rollout, reporter.before(manifest))
        await reporter.report(manifest, msgspec.structs.replace(reporter.before(manifest), registry=registry))
        return registry

    async def close(self) -> None:
        """Close all registries."""
        while self._registries:
            _, registry = self._registries.popitem()
            await registry.close()

    async def _poll(
        self, manifest: Mapping[str, Any], rollout: Rollout, alias: RegistryAlias, reporter: Reporter
    ) -> RegistryStatus:
        for _ in range(_MAX_STEPS):
            status = reporter.before(manifest)
            before = status.registry or _first_status(status, alias)
            after = await self._step(rollout, alias, status, before)
            if after == before:
                break
            # before the run that follows from it: another process continues from the record
            after = _with_revision(after, rollout, status)
            await reporter.report(manifest, msgspec.structs.replace(status, registry=after))
            if after.reason:
                return after
        return before

    async def _step(
        self, rollout: Rollout, alias: RegistryAlias, status: RolloutStatus, before: RegistryStatus
    ) -> RegistryStatus:
        """One step. Returns the status of the registry from now on."""
        registry = self._registry(alias.uri)
        # of another alias nothing is known, but for the versions of the same model
        own = before if _is_of(before, alias) else _first_status(status, alias)
        status = msgspec.structs.replace(status, registry=own)
        number_of = own.revisions.get
        resolved = own.version if own.digest else 0
        try:
            versions = versions_to_read(status, number_of)
            tags = await registry.read(alias.model, alias.alias, versions, known=resolved)
            key = f"tandem.rollout.{rollout.namespace}.{rollout.name}"
            step = follow_alias(status, _reading(tags, key, resolved), number_of)
            if step.write is not None:
                await _write(registry, alias, step.write, key)
        except RegistryError as error:
            return _with_cause(before, Cause("RegistryUnreachable", str(error)))
        after = step.status
        if after.reason:
            # also if the spec names another alias now: the version that is specified stays
            return msgspec.structs.replace(before, command=after.command, reason=after.reason, message=after.message)
        if after.digest:
            return after
        digest = tags.tags.get(after.version, {}).get(DIGEST_TAG, "")
        if not digest or not re.fullmatch(BUNDLE_DIGEST, digest):
            message = f"version {after.version} of {alias.model} has no tag {DIGEST_TAG} with the digest of its bundle"
            return _with_cause(before, Cause("VersionUnusable", message))
        return msgspec.structs.replace(after, digest=digest)

    def _registry(self, uri: str) -> Registry:
        if uri not in self._registries:
            self._registries[uri] = self._open(uri)
        return self._registries[uri]


async def _write(registry: Registry, alias: RegistryAlias, write: RegistryWrite, key: str) -> None:
    end = write.end
    if write.alias is not None:
        reason = f"{end.reason}: {end.message}" if end.message else end.reason
        await registry.put_back(alias.model, alias.alias, write.alias, expected=end.canary, reason=reason)
    text = msgspec.json.encode(end).decode()
    # the rollout's own tag last: with it, the end is closed
    await registry.tag(alias.model, end.canary, {VERDICT_TAG: end.outcome, key: text})


def _reading(tags: AliasTags, key: str, known: int) -> AliasReading:
    ends = {number: _read_end(own.get(key)) for number, own in tags.tags.items()}
    # the version that the alias names still, and whose tags were not read
    return AliasReading(version=tags.version, ends={known: None, **ends} if tags.version == known else ends)


def _read_end(text: str | None) -> RunEnd | None:
    """The end of a run in a tag; None if there is none, or if another program has written something else."""
    try:
        return None if text is None else msgspec.json.decode(text, type=RunEnd)
    except msgspec.MsgspecError:
        return None


def _is_of(registry: RegistryStatus, alias: RegistryAlias) -> bool:
    return (registry.uri, registry.model, registry.alias) == (alias.uri, alias.model, alias.alias)


def _first_status(status: RolloutStatus, alias: RegistryAlias) -> RegistryStatus:
    """The status of an alias that was never read. Runs that have ended before are not its own."""
    previous = status.registry
    first = RegistryStatus(uri=alias.uri, model=alias.model, alias=alias.alias)
    if previous is not None and (previous.uri, previous.model) == (alias.uri, alias.model):
        return msgspec.structs.replace(
            first,
            closed_run=previous.closed_run,
            closed_outcome=previous.closed_outcome,
            revisions=previous.revisions,
        )
    last = max(status.history, key=lambda past: past.number, default=None)
    return (
        first if last is None else msgspec.structs.replace(first, closed_run=last.number, closed_outcome=last.outcome)
    )


def _with_revision(registry: RegistryStatus, rollout: Rollout, status: RolloutStatus) -> RegistryStatus:
    """The status with the revision of its version, and without those that no run has any more."""
    if not registry.digest or rollout.spec.bundle is None:
        return registry
    (variant,) = with_registered_bundle(rollout, registry).spec.all_variants
    own = Revision.of(with_registered_bundle(rollout, registry), variant).name
    run = status.run
    runs = [*([(run.stable, run.canary)] if run is not None else ()), *((p.stable, p.canary) for p in status.history)]
    needed = {name for names in runs for name in names} | {entry.inference_service for entry in status.variants}
    recent = {name: version for name, version in registry.revisions.items() if name in needed}
    return msgspec.structs.replace(registry, revisions={**recent, own: registry.version})


def _with_cause(registry: RegistryStatus, cause: Cause) -> RegistryStatus:
    return msgspec.structs.replace(registry, reason=cause.reason, message=cause.message)
