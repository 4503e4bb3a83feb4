"""A run: one canary on its way, as it is written down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

State = Literal[
    "Preparing",
    "Analysing",
    "Gated",
    "Scaling",
    "Paused",
    "Baking",
    "Promoted",
    "Aborting",
    "Aborted",
    "RollingBack",
    "RolledBack",
    "Observing",
    "Concluded",
]

ENDS: Final[frozenset[State]] = frozenset({"Promoted", "Aborted", "RolledBack", "Concluded"})

RETURNS: Final[dict[State, State]] = {"Aborting": "Aborted", "RollingBack": "RolledBack"}
"""States in which stable gets all requests back, and how they end: what was promoted before is rolled back."""

MOST_HEARD: Final = 15
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
        floor: Pods that stable had when the canary got its first weight; it keeps them until the end.
        before: The state that a pause came from.
        hurried: Whether the canary loses its weight before stable has its pods back.
        reason: Why the state is what it is.
        by: Who wanted it; empty for the engine itself.
        started_by: Who started it; empty where the spec did, without a command.
        start_reason: Why, in the words of that person.
        command: The last command that was heard.
        heard: Those before it, the latest first, so that an old one that somebody applies again says nothing.
        pending: The last ``start`` that was heard and that the next run carries out; empty where there is none.
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
    floor: Pods = (0, 0)
    before: State | None = None
    hurried: bool = False
    reason: str = ""
    by: str = ""
    started_by: str = ""
    start_reason: str = ""
    command: str = ""
    heard: tuple[str, ...] = ()
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
        """Whether a command was heard, by its identity."""
        return command == self.command or command in self.heard

    def hearing(self, command: str) -> Run:
        """The run after it has heard a command; only the last ones are remembered."""
        heard = (self.command, *self.heard) if self.command else self.heard
        return replace(self, command=command, heard=heard[:MOST_HEARD])


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a person asks for.

    Attributes:
        id: Tells commands apart; each is heard once.
        verb: What to do.
        by: Who asks.
        reason: Why.
    """

    id: str
    verb: Verb
    by: str = ""
    reason: str = ""
