"""A queue in which tenants take turns, by rows: the burst of one does not hold up the others. Pure.

Each tenant has a lane of its own, first in, first out. Of all lanes the one that has had the fewest rows goes next:
start-time fair queueing. Source: P. Goyal, H. M. Vin and H. Cheng, "Start-time Fair Queuing", 1996.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What can wait.

    Attributes:
        size: Its rows, at least 1.
        tenant: Number of the lane that it waits in.
    """

    size: int
    tenant: int


_Item = TypeVar("_Item", bound=Sized)


@dataclass(slots=True, eq=False)
class _Lane(Generic[_Item]):
    items: deque[_Item] = field(default_factory=deque)
    rows: int = 0
    start: float = 0.0
    takes_turns: bool = False


class FairQueue(Generic[_Item]):
    """Items of several tenants.

    Attributes:
        rows: Rows of all items.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._lanes: dict[int, _Lane[_Item]] = {}
        # the lanes that have items, by the rows that they have had
        self._turns: list[tuple[float, int, _Lane[_Item]]] = []
        self._numbers = itertools.count()
        self._now = 0.0

    def __iter__(self) -> Iterator[_Item]:
        """All items, in no order."""
        return itertools.chain.from_iterable(lane.items for lane in self._lanes.values())

    def push(self, item: _Item) -> None:
        """Let an item wait."""
        lane = self._lanes.get(item.tenant)
        if lane is None:
            lane = self._lanes[item.tenant] = _Lane()
        if not lane.takes_turns:
            # who was away has no claim to what the others had meanwhile
            lane.start = max(lane.start, self._now)
            lane.takes_turns = True
            heapq.heappush(self._turns, (lane.start, next(self._numbers), lane))
        lane.items.append(item)
        lane.rows += item.size
        self.rows += item.size

    def take(self, rows: int, *, at_least_one: bool) -> list[_Item]:
        """Take the items that are next, as long as they fit.

        Args:
            rows: Most rows of them.
            at_least_one: Take the first one whatever its size.
        """
        batch: list[_Item] = []
        room = rows
        while self._turns:
            self._now, _, lane = self._turns[0]
            items, before = lane.items, room
            # who is alone takes all turns at once; a lane whose items were all removed has none
            turns = len(items) if len(self._turns) == 1 else min(1, len(items))
            while turns and (items[0].size <= room or (at_least_one and not batch)):
                batch.append(items.popleft())
                room -= batch[-1].size
                turns -= 1
            lane.rows -= before - room
            lane.start += before - room
            if before == room and items:
                break
            self._end_turn(lane)
        self.rows -= rows - room
        return batch

    def rows_ahead(self, item: _Item) -> int:
        """About how many rows go before an item that is not here yet."""
        lane = self._lanes.get(item.tenant)
        own = lane.rows if lane is not None else 0
        # until its turn every other tenant gets about as many as its own
        lanes = len(self._turns) - (lane is not None and lane.takes_turns)
        return min(self.rows, own + (own + item.size) * lanes)

    def make_room(self, item: _Item) -> list[_Item]:
        """Remove as many rows as an item has, or more, of the tenant that has most of them, the newest first.

        Only if that tenant has no fewer rows even then than the item's own has with it: so each gets an equal share.

        Returns:
            What was removed; nothing where the item has no claim.
        """
        lane = self._lanes.get(item.tenant)
        own = lane.rows if lane is not None else 0
        heaviest = max(self._lanes.values(), key=_rows, default=None)
        if heaviest is None or heaviest is lane or heaviest.rows - item.size < own + item.size:
            return []
        return self._remove(heaviest, item.size)

    def drop(self, rows: int) -> list[_Item]:
        """Remove that many rows or more, or all there are: the newest ones of whoever has most."""
        removed: list[_Item] = []
        remaining_rows = max(self.rows - rows, 0)
        while self.rows > remaining_rows:
            removed += self._remove(max(self._lanes.values(), key=_rows), 1)
        return removed

    def _end_turn(self, lane: _Lane[_Item]) -> None:
        """The lane that is first has had its turn; it gets another one if it has more."""
        if lane.items:
            heapq.heapreplace(self._turns, (lane.start, next(self._numbers), lane))
        else:
            heapq.heappop(self._turns)
            lane.takes_turns = False

    def _remove(self, lane: _Lane[_Item], rows: int) -> list[_Item]:
        removed: list[_Item] = []
        while rows > 0 and lane.items:
            item = lane.items.pop()
            lane.rows -= item.size
            self.rows -= item.size
            rows -= item.size
            removed.append(item)
        return removed


def _rows(lane: _Lane[_Item]) -> int:
    return lane.rows
