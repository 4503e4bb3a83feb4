"""The rules of leader election, without I/O and without a clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long things take, in seconds.

    Attributes:
        lease: After a renewal nobody else takes the lease for so long. Whole seconds.
        deadline: A leader that has not succeeded in a renewal for so long stops.
        renewal: Between two renewals.
        retry: Between two looks at the lease of another, and after a call that failed.
        call: Longest time for one look at the lease, with the write that follows it.

    Raises:
        ValueError: if a leader would not stop before another one may begin, or would have no second try.
    """

    lease: int = 12
    deadline: float = 8.0
    renewal: float = 2.0
    retry: float = 1.0
    call: float = 3.0

    def __post_init__(self) -> None:
        if self.deadline >= self.lease:
            raise ValueError(f"the deadline ({self.deadline:g} s) must be shorter than the lease ({self.lease} s)")
        if self.renewal + self.call + self.retry >= self.deadline:
            raise ValueError(f"a renewal that fails must leave time for another one before {self.deadline:g} s")


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease as the API server has it.

    Attributes:
        holder: Identity of the holder; empty where there is none.
        duration: Seconds for which the holder has it after a renewal; 0 where it does not say.
        transitions: How often it went from one holder to another.
        acquired: When the holder got it, in seconds since the epoch; for people only.
        renewed: When the holder last renewed it, likewise.
        version: Changes with each write; empty before the first one.
    """

    holder: str
    duration: int
    transitions: int
    acquired: float
    renewed: float
    version: str = ""


class Candidacy:
    """What one candidate knows of the lease, and what it may do. Reads no clock: times are on the candidate's own.

    Args:
        identity: Name of the candidate, which no other one has.
        timing: How long things take.
    """

    def __init__(self, identity: str, timing: Timing) -> None:
        self.identity = identity
        self._timing = timing
        self._lease: Lease | None = None
        self._seen_at = _NEVER
        self._until = _NEVER

    @property
    def holder(self) -> str:
        """Who held the lease when it was last seen; empty for nobody."""
        return self._lease.holder if self._lease else ""

    @property
    def until(self) -> float:
        """When the candidate stops to be the leader if it renews the lease no more; past where it is not."""
        return self._until

    @property
    def expires(self) -> float:
        """When the lease can be taken if it does not change; past where nobody holds it."""
        if self._lease is None or not self._lease.holder:
            return _NEVER
        return self._seen_at + (self._lease.duration or self._timing.lease)

    def leads(self, now: float) -> bool:
        """Whether the candidate is the leader."""
        return now < self._until

    def observe(self, lease: Lease | None, now: float) -> None:
        """Take note of a lease that was read.

        A lease that somebody has deleted is waited for all the same: its holder does not know that it is gone.

        Args:
            lease: The lease; None if it is not there.
            now: When the answer came.
        """
        if lease is None:
            self._lease = replace(self._lease, version="") if self._lease else None
            return
        if self._lease is None or lease.version != self._lease.version:
            self._seen_at = now
        self._lease = lease
        if lease.holder != self.identity:
            self._until = _NEVER

    def claim(self, now: float, time_of_day: float) -> Lease | None:
        """What to write to get or keep the lease; None where another one has it.

        Args:
            now: When it will be sent.
            time_of_day: The same in seconds since the epoch.
        """
        lease, duration = self._lease, self._timing.lease
        if lease is None:
            return Lease(self.identity, duration, 0, time_of_day, time_of_day)
        if lease.holder == self.identity:
            return replace(lease, duration=duration, renewed=time_of_day)
        if now < self.expires:
            return None
        return Lease(self.identity, duration, lease.transitions + 1, time_of_day, time_of_day, lease.version)

    def confirm(self, lease: Lease, sent: float, now: float) -> None:
        """A claim has been taken.

        Args:
            lease: The lease as it is now.
            sent: When the claim was sent.
            now: When the answer came.
        """
        self.observe(lease, now)
        self._until = sent + self._timing.deadline

    def resign(self, time_of_day: float) -> Lease | None:
        """Lead no more; returns what to write so that another one can begin at once, None where it has the lease."""
        self._until = _NEVER
        if self._lease is None or self._lease.holder != self.identity:
            return None
        return replace(self._lease, holder="", renewed=time_of_day)
