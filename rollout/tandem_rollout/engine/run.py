"""A run: the record of one canary."""

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
"""States in which stable gets all requests back, and the states in which they end."""

MAX_PREVIOUS_COMMANDS: Final = 15
"""Maximum number of commands that are remembered besides the last one."""

Verb = Literal["start", "promote", "pause", "resume", "abort", "rollback"]

Pods = tuple[int, int]
"""Numbers of transformer and predictor pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run. Times are seconds since the epoch.

    Attributes:
        number: Number of the run, from 1.
        stable: Name of the revision that served before the run.
        canary: Name of the revision that the run evaluates.
        plan: Hash of the plan: schedule, analysis and canary.
        state: State of the run.
        step: Index of the step, from 0; the number of steps after the last one.
        weight: Desired percentage of the requests for the canary.
        started: Time at which the run began.
        since: Time at which the state began.
        deadline: Time at which the analysis ends at the latest; None before the first weight.
        min_pods: Minimum numbers of stable's pods: those that it had at the canary's first weight.
        paused_from: State in which the run was paused.
        immediate_rollback: Whether the canary loses its weight before stable has its pods back.
        reason: Machine-readable reason for the state; empty in a run that another version has written.
        message: Human-readable explanation of the state.
        by: User who caused the state; empty for the engine.
        started_by: User who started the run; empty if a change of the spec did.
        start_comment: Comment of that user.
        last_command: The last command and its result; None before the first.
        previous_commands: Identifiers of the commands before it, the latest first. An old command that is applied again
            has no effect.
        pending: Identifier of an accepted ``start`` for the next run; empty if there is none.
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
        """Whether the run has ended."""
        return self.state in ENDS

    @property
    def returns(self) -> bool:
        """Whether the requests return to stable."""
        return self.state in RETURNS

    def knows(self, command: str) -> bool:
        """Whether the command with this identifier was answered."""
        return command in self.previous_commands or (self.last_command is not None and command == self.last_command.id)

    def answering(self, command: Command, rejection: Cause | None = None) -> Run:
        """The run after it has answered a command.

        Args:
            command: The command.
            rejection: Cause of the rejection; None if the command was accepted.
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
        # bounded, as the size of an object is limited
        return replace(self, last_command=answer, previous_commands=previous[:MAX_PREVIOUS_COMMANDS])


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of a user.

    Attributes:
        id: Identifier. Each command is answered once.
        verb: The action.
        by: The user.
        comment: Comment of the user.
    """

    id: str
    verb: Verb
    by: str = ""
    comment: str = ""
