"""A run: one canary on its way, as it is written down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import LastCommand

State = Literal[
    "Preparing",
    "Analyzing",
    "AwaitingApproval",
    "Scaling",
    "Paused",
    "Baking",
    "Promoted",
    "Aborting",
    "Aborted",
    "RollingBack",
    "RolledBack",
    "Observing",
    "Completed",
]

ENDS: Final[frozenset[State]] = frozenset({"Promoted", "Aborted", "RolledBack", "Completed"})

RETURNS: Final[dict[State, State]] = {"Aborting": "Aborted", "RollingBack": "RolledBack"}
"""States in which stable gets all requests back, and how they end: what was promoted before is rolled back."""

MAX_PREVIOUS_COMMANDS: Final = 15
"""Commands that are remembered beside the last one."""

Verb = Literal["start", "promote", "pause", "resume", "abort", "rollback"]

Pods = tuple[int, int]
"""Pods of transformer and predictor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run. Times are seconds since the epoch.

    Attributes:
        number: Runs of a rollout are counted from 1.
        stable: Name of the revision that served before.
        canary: Name of the revision that is to follow it.
        plan: Hash of what was planned: schedule, analysis and the canary.
        state: Where it stands.
        step: Index of the step; the number of steps once it is past the last one.
        weight: Percentage of the requests that the canary is to have.
        started: When the run began.
        since: When the state began.
        deadline: When the analysis is over at the latest; None before the canary has had any weight.
        min_pods: Pods that stable had when the canary got its first weight; it keeps them until the end.
        paused_from: The state that a pause came from.
        immediate_rollback: Whether the canary loses its weight before stable has its pods back.
        reason: Why the state is what it is, machine-readable; empty for a run that was written by another version.
        message: The same for people.
        by: Who wanted it; empty for the engine itself.
        started_by: Who started it; empty where the spec did, without a command.
        start_comment: Why, in the words of that person.
        last_command: The last command, and what became of it; None before the first.
        previous_commands: Identities of those before it, the latest first: an old one that is applied again has no
            effect.
        pending: The last ``start`` that was answered and that the next run carries out; empty where there is none.
    """

    number: int
    stable: str
    canary: str
    plan: str
    state: State
    started: float
    since: float
    step: int = 0
    weight: int = 0
    deadline: float | None = None
    min_pods: Pods = (0, 0)
    paused_from: State | None = None
    immediate_rollback: bool = False
    reason: str = ""
    message: str = ""
    by: str = ""
    started_by: str = ""
    start_comment: str = ""
    last_command: LastCommand | None = None
    previous_commands: tuple[str, ...] = ()
    pending: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in ENDS

    @property
    def returns(self) -> bool:
        """Whether it is on its way back to stable."""
        return self.state in RETURNS

    def knows(self, command: str) -> bool:
        """Whether a command was answered, by its identity."""
        return command in self.previous_commands or (self.last_command is not None and command == self.last_command.id)

    def answering(self, command: Command, rejection: Cause | None = None) -> Run:
        """The run after it has answered a command; only the last ones are remembered.

        Args:
            command: The command.
            rejection: Why it was not carried out; None where it was.
        """
        answer = LastCommand(
            id=command.id,
            verb=command.verb,
            by=command.by,
            result="Accepted" if rejection is None else "Rejected",
            reason="" if rejection is None else rejection.reason,
            message="" if rejection is None else rejection.message,
        )
        previous = (
            (self.last_command.id, *self.previous_commands) if self.last_command is not None else self.previous_commands
        )
        return replace(self, last_command=answer, previous_commands=previous[:MAX_PREVIOUS_COMMANDS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person asks for.

    Attributes:
        id: Tells commands apart; each is answered once.
        verb: What to do.
        by: Who asks.
        comment: Why, in the words of that person.
    """

    id: str
    verb: Verb
    by: str = ""
    comment: str = ""
