"""How a request came to this version, and what became of it: what a rollout counts as evidence, and what it does not.

The gateway says how a request came here, by a header that it sets on every request, so that a client's own is replaced.
"""

from __future__ import annotations

from typing import Final

HEADER: Final = "x-tandem-traffic"
"""With this header the gateway says how a request came to this version."""

UNIT_HEADER: Final = "x-tandem-unit"
"""With this header the gateway names the client that has presented a token or key."""

TRAFFIC: Final = ("weighted", "pinned", "preview", "direct", "surplus")
"""``weighted``: the weights sent it here. ``pinned``: the client chose the version, by header or by path. ``preview``:
it was sent to the preview host. ``direct``: it did not come through the gateway. ``surplus``: the weights sent it, but
its client has contributed enough."""

WEIGHTED: Final = 0
DIRECT: Final = TRAFFIC.index("direct")
SURPLUS: Final = TRAFFIC.index("surplus")

OUTCOMES: Final = ("answered", "refused", "expired", "failed")
"""``refused``: the client's own mistake, or too much load (4xx). ``expired``: the client went away, or the deadline
that it set itself passed. ``failed``: 5xx."""

_MARKS: Final = {name.encode(): index for index, name in enumerate(TRAFFIC) if index != SURPLUS}
_CANCELLED: Final = 499


def traffic_of(mark: bytes | None) -> int:
    """Index in :data:`TRAFFIC` of a request.

    Args:
        mark: Value of :data:`HEADER`; None without it.
    """
    return DIRECT if mark is None else _MARKS.get(mark, DIRECT)


def outcome_of(status: int, *, own_deadline: bool = False) -> str:
    """One of :data:`OUTCOMES`.

    Args:
        status: HTTP status of the answer; 499 for a client that went away.
        own_deadline: Whether the client set a shorter deadline than the server has.
    """
    if status < 400:
        return "answered"
    if status == _CANCELLED or (status == 504 and own_deadline):
        return "expired"
    return "refused" if status < 500 else "failed"
