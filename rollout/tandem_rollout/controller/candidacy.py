"""The rules of leader election, without I/O and without a clock."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

_NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times of the election, in seconds.

    Attributes:
        lease: Time after a renewal for which no other candidate takes the lease. Whole seconds.
        deadline: Time without a successful renewal after which a leader stops.
        renewal: Time between two renewals.
        retry: Time between two reads of the lease of another candidate, and after a failed call.
        call: Maximum time for reading the lease and the write that follows.

    Raises:
        ValueError: A leader would not stop before another one begins, or could not retry a renewal.
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
            raise ValueError(f"renewal, call and retry together must be below the deadline ({self.deadline:g} s)")


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease of the API server.

    Attributes:
        holder: Identity of the holder; empty if there is none.
        duration: Seconds for which the lease is valid after a renewal; 0 if it is not set.
        transitions: Number of changes of the holder.
        acquired: Time at which the holder acquired it, in seconds since the epoch; for people only.
        renewed: Time of the last renewal, likewise.
        version: Resource version; empty before the first write.
    """

    holder: str
    duration: int
    transitions: int
    acquired: float
    renewed: float
    version: str = ""


class Candidacy:
    """The state of one candidate. It reads no clock: callers pass times of the candidate's own clock.

    Args:
        identity: Unique name of the candidate.
        timing: Times of the election.
    """

    def __init__(self, identity: str, timing: Timing) -> None:
        self.identity = identity
        self._timing = timing
        self._lease: Lease | None = None
        self._seen_at = _NEVER
        self._until = _NEVER

    @property
    def holder(self) -> str:
        """The holder of the lease when it was last read; empty if there was none."""
        return self._lease.holder if self._lease else ""

    @property
    def until(self) -> float:
        """Time until which the candidate is the leader without another renewal; in the past if it is not the leader."""
        return self._until

    @property
    def expires(self) -> float:
        """Time from which the lease can be taken if it does not change; in the past if it has no holder."""
        if self._lease is None or not self._lease.holder:
            return _NEVER
        return self._seen_at + (self._lease.duration or self._timing.lease)

    def leads(self, now: float) -> bool:
        """Whether the candidate is the leader."""
        return now < self._until

    def observe(self, lease: Lease | None, now: float) -> None:
        """Observe a lease that was read.

        A deleted lease still has to expire, as its holder does not know that it was deleted.

        Args:
            lease: The lease; None if it does not exist.
            now: Time of the response.
        """
        if lease is None:
            self._lease = replace(self._lease, version="") if self._lease else None
            return
        if self._lease is None or lease.version != self._lease.version:
            self._seen_at = now
        self._lease = lease
        # another candidate holds it: the deadline of this one no longer matters
        if lease.holder != self.identity:
            self._until = _NEVER

    def claim(self, now: float, time_of_day: float) -> Lease | None:
        """The lease to write in order to acquire or renew it; None if another candidate holds it.

        Args:
            now: Time of the write.
            time_of_day: The same time in seconds since the epoch.
        """
        lease, duration = self._lease, self._timing.lease
        if lease is None:
            return Lease(self.identity, duration, 0, time_of_day, time_of_day)
        # even if it has expired, as nobody has taken it
        if lease.holder == self.identity:
            return replace(lease, duration=duration, renewed=time_of_day)
        if now < self.expires:
            return None
        return Lease(self.identity, duration, lease.transitions + 1, time_of_day, time_of_day, lease.version)

    def confirm(self, lease: Lease, sent: float, now: float) -> None:
        """Confirm a successful write.

        Args:
            lease: The lease after the write.
            sent: Time at which the write was sent.
            now: Time of the response.
        """
        self.observe(lease, now)
        # not from the response, as candidates count from the write, which may be long before
        self._until = sent + self._timing.deadline

    def resign(self, time_of_day: float) -> Lease | None:
        """Stop leading. Returns the lease to write so that another candidate can begin; None if it is not held."""
        self._until = _NEVER
        if self._lease is None or self._lease.holder != self.identity:
            return None
        return replace(self._lease, holder="", renewed=time_of_day)
