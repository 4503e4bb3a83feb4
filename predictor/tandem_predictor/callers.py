"""Who waits for an answer, and until when: what nobody waits for any more is not worth a run of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from tandem.errors import DeadlineExceeded, MalformedRequest, RequestError

DEADLINE: Final = "deadline"
"""Reason to drop a request: its deadline has passed."""

GONE: Final = "gone"
"""Reason to drop a request: its client has disconnected, or cancelled it."""


class Caller(NamedTuple):
    """One request's client.

    Attributes:
        deadline: When it stops waiting, on the event loop's clock; None if it does not say.
        is_gone: Whether its connection is closed; None where a call is cancelled in that case.
    """

    deadline: float | None = None
    is_gone: Callable[[], bool] | None = None

    def absence(self, now: float) -> str:
        """Why it does not wait any more: :data:`DEADLINE` or :data:`GONE`; empty while it does.

        Args:
            now: The time on the event loop's clock.
        """
        if self.is_gone is not None and self.is_gone():
            return GONE
        return DEADLINE if self.deadline is not None and self.deadline <= now else ""


UNKNOWN: Final = Caller()
"""A client that waits for as long as it takes."""


def refusal_of(reason: str) -> RequestError:
    """The error of a request that is dropped, which its client sees only if its own clock is late."""
    if reason == GONE:
        return MalformedRequest("the client disconnected before the model ran", code="client_gone")
    return DeadlineExceeded("the deadline of the request passed before the model ran")
