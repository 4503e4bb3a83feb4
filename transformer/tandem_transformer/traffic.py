"""How a request came to this version, and what became of it: what a rollout counts as evidence, and what it does not.

The hot path counts by index; the words are those of :mod:`tandem.telemetry`.
"""

from __future__ import annotations

from typing import Final

from tandem import telemetry
from tandem.telemetry import ANSWERED, EXPIRED, FAILED, REFUSED

TRAFFIC: Final = (
    telemetry.WEIGHTED,
    telemetry.PINNED,
    telemetry.PREVIEW,
    telemetry.DIRECT,
    telemetry.SURPLUS,
)
"""How requests come here, by index."""

WEIGHTED: Final = TRAFFIC.index(telemetry.WEIGHTED)
DIRECT: Final = TRAFFIC.index(telemetry.DIRECT)
SURPLUS: Final = TRAFFIC.index(telemetry.SURPLUS)

# whether a request is surplus is decided here, not by a mark
_MARKS: Final = {name.encode(): index for index, name in enumerate(TRAFFIC) if index != SURPLUS}
_CANCELLED: Final = 499


def traffic_of(mark: bytes | None) -> int:
    """Index in :data:`TRAFFIC` of a request.

    Args:
        mark: Value of :data:`~tandem.telemetry.TRAFFIC_HEADER`; None without it.
    """
    return DIRECT if mark is None else _MARKS.get(mark, DIRECT)


def outcome_of(status: int, *, own_deadline: bool = False) -> str:
    """What became of a request: an outcome of :mod:`tandem.telemetry`.

    Args:
        status: HTTP status of the answer; 499 for a client that went away.
        own_deadline: Whether the client set a shorter deadline than the server has.
    """
    if status < 400:
        return ANSWERED
    if status == _CANCELLED or (status == 504 and own_deadline):
        return EXPIRED
    return REFUSED if status < 500 else FAILED
