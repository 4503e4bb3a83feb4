"""One tick: requests and events of each arm between two scrapes.

Counters belong to a *target*, the process that exports them. What a target has counted between two scrapes:

- The difference of each series; a series that is new in a known target was born at zero, as error counters are.
- After a restart, all since zero. A counter that fell tells of a restart. Where one fell and another, that was not zero
  before, did not, nobody can tell how much of the second is new: the target is left out of the tick.
- Nothing where a value is negative, absurdly high or not a number, and nothing for a target that is new: what it had
  counted before its first scrape may be old.

A target that is left out is left out with its requests and its events, so the rates of its arm stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

_Key = TypeVar("_Key", bound=Hashable)

_MOST = 2.0**63
"""No counter of requests gets there; sums of what is below are finite."""


@dataclass(frozen=True, slots=True)
class NoData:
    """There is nothing to count.

    Attributes:
        reason: Why, for people.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """What happened between two scrapes.

    Attributes:
        canary_requests: Requests that the canary answered.
        canary_events: Those of them that were events: errors, slow answers, degraded answers.
        stable_requests: Requests that stable answered.
        stable_events: Those of them that were events.
    """

    canary_requests: float
    canary_events: float
    stable_requests: float
    stable_events: float


@dataclass(frozen=True, slots=True)
class Counters:
    """Counters of one arm in one target, by series. Several series are summed.

    Attributes:
        requests: All requests.
        events: Requests that were events.
    """

    requests: Mapping[str, float]
    events: Mapping[str, float]


Scrape = Mapping[str, Counters]
"""Counters of one arm by target. A target that answered without a series of the arm is there, with empty counters; one
that did not answer is not."""


def increase(earlier: Mapping[_Key, float], later: Mapping[_Key, float]) -> dict[_Key, float] | None:
    """What the counters of one target have counted since the earlier scrape, by series.

    Args:
        earlier: Values by series.
        later: Values of the same target, later. Series that are gone count nothing.

    Returns:
        The increases, or None where they cannot be told.
    """
    if not all(0.0 <= value <= _MOST for values in (earlier, later) for value in values.values()):
        return None
    if not any(value < earlier.get(series, 0.0) for series, value in later.items()):
        return {series: value - earlier.get(series, 0.0) for series, value in later.items()}
    if any(value >= earlier.get(series, 0.0) > 0 for series, value in later.items()):
        return None
    return dict(later)


def tick(
    *, canary: tuple[Scrape, Scrape], stable: tuple[Scrape, Scrape], events_required: bool = False
) -> Tick | NoData:
    """The tick between two scrapes.

    Events are never more than requests: two counters of one process are not read at one instant, and an event that was
    counted before its request is left out.

    Args:
        canary: Earlier and later scrape of the canary.
        stable: Earlier and later scrape of stable.
        events_required: Whether it is no data when neither arm has a series of events. False where events are a label
            of the requests' own metric, whose series are born with the first event; true where a wrong name must not
            read as no events at all.
    """
    if events_required and not any(each.events for _, later in (canary, stable) for each in later.values()):
        return NoData("there is no series of events")
    counted = [_arm(arm, *scrapes) for arm, scrapes in (("canary", canary), ("stable", stable))]
    for arm in counted:
        if isinstance(arm, NoData):
            return arm
    (canary_requests, canary_events), (stable_requests, stable_events) = (
        arm for arm in counted if not isinstance(arm, NoData)
    )
    return Tick(canary_requests, canary_events, stable_requests, stable_events)


def _arm(arm: str, earlier: Scrape, later: Scrape) -> tuple[float, float] | NoData:
    if not later:
        return NoData(f"{arm}: no target answered")
    if not any(each.requests for each in later.values()):
        return NoData(f"{arm}: there is no series of requests")
    known = [target for target in sorted(later) if target in earlier]
    if not known:
        return NoData(f"{arm}: no target was there in the scrape before")
    increases = [found for target in known if (found := _target(earlier[target], later[target])) is not None]
    if not increases:
        return NoData(f"{arm}: counters have values that cannot be, or restarted in part")
    requests = math.fsum(each[0] for each in increases)
    return requests, min(requests, math.fsum(each[1] for each in increases))


def _target(earlier: Counters, later: Counters) -> tuple[float, float] | None:
    increases = increase(_together(earlier), _together(later))
    if increases is None:
        return None
    requests = math.fsum(value for (is_event, _), value in increases.items() if not is_event)
    return requests, math.fsum(value for (is_event, _), value in increases.items() if is_event)


def _together(counters: Counters) -> dict[tuple[bool, str], float]:
    """All series of a target: one restart resets them all."""
    requests = {(False, series): value for series, value in counters.requests.items()}
    return requests | {(True, series): value for series, value in counters.events.items()}
