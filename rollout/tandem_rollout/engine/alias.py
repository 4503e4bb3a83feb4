"""How a rollout follows an alias of a model registry. Pure: no I/O and no clock.

:func:`follow_alias` is a function of the status of the rollout and of one reading of the registry. It returns the next
status of the registry, and at most one write. The caller makes the write, records the status, and calls again until
nothing changes. Whatever it was doing when its process ended, the next process comes to the same end:

==============================  ==================  ==============================================================
the last run                    the alias names     what follows
==============================  ==================  ==============================================================
none, or under way              another version     that version is specified: a run begins, or supersedes this one
none, or under way              no version          nothing: the version that is specified stays
ended, and not closed           its canary          closed: after an abort that the canary caused or a rollback, the
                                                    alias is put back to stable; then the canary is tagged
ended, and not closed           any other, or none  closed: the canary is tagged, and the alias stays where it is
ended, closed                   another version     that version is specified; with a start command if the last run
                                                    had it, as the engine repeats no version without one
ended by a change of the spec,  its canary          a start command: the canary was never judged
closed
any                             (no answer)         nothing
==============================  ==================  ==============================================================

The alias is moved before the tag is written. So the tag says that an end was closed: an alias that names the canary
without the tag was not put back yet, and one that names it in spite of the tag was moved there again by a person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from tandem_rollout.api.cause import Cause, RunReason
from tandem_rollout.api.status import PastRun, RegistryStatus, RolloutStatus
from tandem_rollout.engine.run import ENDS, Run
from tandem_rollout.engine.serialization import from_status

UNJUDGED: Final[frozenset[RunReason]] = frozenset(
    {
        "Superseded",
        "PlanChanged",
        "SpecReverted",
        "RolloutDeleted",
        "StrategyChanged",
        "AnalysisRemoved",
        "StackStopped",
    }
)
"""Reasons of aborts that say nothing about the canary."""

NumberOf = Callable[[str], int | None]
"""Version of the registry by name of the revision; None if the revision is not of the registry."""


class RunEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The end of a run, as the tag of the canary's version has it.

    Attributes:
        run: Number of the run.
        started: Time at which the run began: numbers begin again with a new rollout of the same name.
        outcome: ``Promoted``, ``Aborted``, ``RolledBack`` or ``Completed``.
        canary: Version that was evaluated.
        stable: Version that served before; None if it is not of the registry.
        ended: Time at which the run ended.
        reason: Machine-readable reason for the outcome.
        message: Human-readable explanation of the outcome.
        by: User who caused the outcome; empty for the engine.
    """

    run: int
    started: str
    outcome: str
    canary: int
    stable: int | None = None
    ended: str = ""
    reason: str = ""
    message: str = ""
    by: str = ""

    def is_same(self, other: RunEnd | None) -> bool:
        """Whether both are the same end of the same run."""
        return other is not None and (self.run, self.started, self.outcome) == (other.run, other.started, other.outcome)

    @property
    def rejects_canary(self) -> bool:
        """Whether the canary lost the requests for a reason of its own, or by a user's command."""
        return self.outcome in ("Aborted", "RolledBack") and self.reason not in UNJUDGED


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasReading:
    """What the registry has.

    Attributes:
        version: The version that the alias names; None if the model has no such alias.
        ends: By version of those that were read and exist: the end in its tag, or None without a tag.
    """

    version: int | None
    ends: Mapping[int, RunEnd | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryWrite:
    """A write that records the end of a run. It may be repeated.

    Attributes:
        end: The end, for the tag of the canary's version.
        alias: The version that the alias must name before the tag is written; None if the alias stays.
    """

    end: RunEnd
    alias: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasStep:
    """The next step.

    Attributes:
        status: The status of the registry from now on, to be recorded after the write.
        write: The write; None if there is none.
    """

    status: RegistryStatus
    write: RegistryWrite | None = None


def follow_alias(status: RolloutStatus, reading: AliasReading | Cause, number_of: NumberOf) -> AliasStep:
    """The next step of a rollout that follows an alias; with an equal status and no write if there is none.

    Args:
        status: The status of the rollout, with that of its registry.
        reading: What the registry has, or why it could not be read.
        number_of: Versions of the registry by name of the revision.
    """
    run, registry = from_status(status.run), _forget_answered(status)
    if isinstance(reading, Cause):
        return AliasStep(status=_with_cause(registry, reading))
    end = next(open_ends(status, number_of), None)
    if end is not None:
        return _close(registry, reading, end, is_last=run is not None and run.number == end.run)
    return AliasStep(status=_specify(registry, reading, run, number_of))


def open_ends(status: RolloutStatus, number_of: NumberOf) -> Iterator[RunEnd]:
    """The ends of runs that the registry does not have yet, the oldest first.

    Args:
        status: The status of the rollout.
        number_of: Versions of the registry by name of the revision.
    """
    registry = status.registry or RegistryStatus()
    for past in reversed(_past_runs(status)):
        end = _run_end(past, number_of)
        # a promoted run may be rolled back later: it ends twice
        is_closed = past.number < registry.closed_run or (
            (past.number, past.outcome) == (registry.closed_run, registry.closed_outcome)
        )
        if end is not None and not is_closed:
            yield end


def versions_to_read(status: RolloutStatus, number_of: NumberOf) -> set[int]:
    """The versions that a reading must have, besides the one that the alias names.

    Args:
        status: The status of the rollout.
        number_of: Versions of the registry by name of the revision.
    """
    return {number for end in open_ends(status, number_of) for number in (end.canary, end.stable) if number is not None}


def _close(registry: RegistryStatus, reading: AliasReading, end: RunEnd, *, is_last: bool) -> AliasStep:
    closed = msgspec.structs.replace(
        _with_cause(registry, None), closed_run=end.run, closed_outcome=end.outcome, command=""
    )
    # a version that was deleted cannot be tagged, and an end that is tagged was closed by a process that ended then
    if end.canary not in reading.ends or end.is_same(reading.ends[end.canary]):
        return AliasStep(status=closed)
    # an alias that does not name the canary was moved by a person, and a later run decides about its own canary
    returns = is_last and end.rejects_canary and reading.version == end.canary
    if not returns or end.stable is None or end.stable not in reading.ends:
        return AliasStep(status=closed, write=RegistryWrite(end=end))
    back = msgspec.structs.replace(closed, version=end.stable, digest="")
    return AliasStep(status=back, write=RegistryWrite(end=end, alias=end.stable))


def _specify(registry: RegistryStatus, reading: AliasReading, run: Run | None, number_of: NumberOf) -> RegistryStatus:
    version = reading.version
    if version is None:
        return _with_cause(registry, Cause("AliasMissing", f"{registry.model} has no alias {registry.alias}"))
    if version not in reading.ends:
        return _with_cause(registry, Cause("VersionMissing", f"{registry.model} has no version {version}"))
    command = _start_command(version, run, number_of)
    if version != registry.version:
        return msgspec.structs.replace(_with_cause(registry, None), version=version, digest="", command=command)
    # a canary that the alias still names, and that was never judged
    if command and run is not None and run.reason in UNJUDGED and not run.knows(command):
        return msgspec.structs.replace(_with_cause(registry, None), command=command)
    return _with_cause(registry, None)


def _start_command(version: int, run: Run | None, number_of: NumberOf) -> str:
    """Identifier of the command that begins another run of the same version; empty if none is needed."""
    if run is None or run.state not in ("Aborted", "RolledBack") or number_of(run.canary) != version:
        return ""
    # the same for each process that comes to the same decision, so that it is answered once
    return f"version-{version}-after-run-{run.number}"


def _forget_answered(status: RolloutStatus) -> RegistryStatus:
    """The status of the registry without a command that the run has answered."""
    run, registry = from_status(status.run), status.registry or RegistryStatus()
    # runs remember a limited number of commands
    if run is None or not registry.command or not run.knows(registry.command):
        return registry
    return msgspec.structs.replace(registry, command="")


def _with_cause(registry: RegistryStatus, cause: Cause | None) -> RegistryStatus:
    reason, message = (cause.reason, cause.message) if cause is not None else ("", "")
    return msgspec.structs.replace(registry, reason=reason, message=message)


def _past_runs(status: RolloutStatus) -> list[PastRun]:
    """The runs that have ended, the latest first."""
    run = status.run
    # a spec may ask for no history
    if run is None or run.state not in ENDS or any(past.number == run.number for past in status.history):
        return status.history
    last = PastRun(
        number=run.number,
        outcome=run.state,
        stable=run.stable,
        canary=run.canary,
        started=run.started,
        ended=run.since,
        reason=run.reason,
        message=run.message,
        by=run.by,
    )
    return [last, *status.history]


def _run_end(past: PastRun, number_of: NumberOf) -> RunEnd | None:
    canary = number_of(past.canary)
    if canary is None:
        return None
    return RunEnd(
        run=past.number,
        started=past.started,
        outcome=past.outcome,
        canary=canary,
        stable=number_of(past.stable),
        ended=past.ended,
        reason=past.reason,
        message=past.message,
        by=past.by,
    )
