"""Lookups of a batch in the online store, and what stands for its rows while it does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from math import inf

from tandem.dtypes import Columns
from tandem.errors import Internal, StoreError
from tandem.features import ViewUse
from tandem.lookup import LookupPlan
from tandem.packed_rows import ViewColumns
from tandem.precomputed import PrecomputedPredictions
from tandem.stores import OnlineStore
from tandem.stores.last_known import LastKnown
from tandem_transformer.background import Background
from tandem_transformer.breaker import Breaker
from tandem_transformer.stalls import Stalls

log = logging.getLogger(__name__)


class Lookups:
    """The features of a model's views, from the store or from what is known of them.

    Args:
        views: The model's views.
        store: The online store.
        timeout_s: Seconds that a lookup may take.
        known_bytes: Most bytes of rows that are kept for an outage.
        background: Runs lookups that requests do not wait for to their end.
        precomputed: Where predictions computed ahead are; None if none are looked up.
    """

    def __init__(
        self,
        views: Sequence[ViewUse],
        store: OnlineStore,
        timeout_s: float,
        known_bytes: int,
        background: Background,
        precomputed: PrecomputedPredictions | None = None,
    ) -> None:
        self._precomputed = precomputed
        self._plan = LookupPlan(views)
        self._store = store
        self._timeout_s = timeout_s
        self._background = background
        self._clock = asyncio.get_running_loop().time
        self._known = LastKnown(known_bytes if any(use.view.fallback == "last_known" for use in views) else 0)
        self._breaker = Breaker(self._clock)
        # requests that cannot be answered without the store wait as long as they may
        self._stalls = Stalls(timeout_s) if self._plan.is_answerable else None
        self._probe: asyncio.Task[object] | None = None

    async def look_up(self, request: Columns, rows: int, within_s: float = inf) -> tuple[ViewColumns, ...]:
        """What is known of each view, row by row; rows that are not from the store are marked.

        Where predictions computed ahead are looked up, they come last, as if they were one more view.

        Args:
            request: Columns of the contract.
            rows: How many rows they have.
            within_s: Seconds that the request has for it, if they are fewer than a lookup may take. The lookup goes on
                when they are over, so that requests with little time neither close the store's connections nor make
                it look as if it did not answer.

        Raises:
            Internal: ``stored_row_unreadable``: a row cannot be read, and its view may not be guessed.
        """
        if not self._plan.uses and self._precomputed is None:
            return ()
        keys = self._plan.keys(request)
        if self._precomputed is not None:
            keys += self._precomputed.keys(request)
        values, is_late = None, False
        if self._breaker.is_open:
            # nobody waits for a store that does not answer
            self._start_probe(keys)
        elif within_s >= self._timeout_s:
            values = await self._ask(keys)
        else:
            try:
                values = await self._ask_briefly(keys, within_s)
            except TimeoutError:
                is_late = True
        if values is not None:
            return self._unpack(keys, values, rows)
        views = self._plan.unpack_known(keys, None, rows, self._recall, is_late=is_late)
        return self._with_precomputed(views, [None] * rows)

    def _unpack(self, keys: list[bytes], values: list[bytes | None], rows: int) -> tuple[ViewColumns, ...]:
        try:
            views = self._plan.unpack(values, rows)
        except Internal:
            views = self._plan.unpack_known(keys, values, rows, self._recall)
        else:
            # only what can be read; of predictions, those are enough that the store has
            stop = len(views) * rows
            self._known.remember(keys[:stop], values[:stop], self._clock())
        return self._with_precomputed(views, values[-rows:])

    def _with_precomputed(
        self, views: tuple[ViewColumns, ...], values: Sequence[bytes | None]
    ) -> tuple[ViewColumns, ...]:
        return views if self._precomputed is None else (*views, self._precomputed.unpack(values))

    async def close(self) -> None:
        """Give back connections."""
        if self._probe is not None:
            self._probe.cancel()
        await self._store.close()

    async def _ask_briefly(self, keys: Sequence[bytes], within_s: float) -> list[bytes | None] | None:
        """The same for a request that does not wait for all the time that a lookup may take.

        Raises:
            TimeoutError: The store has not answered within this time.
        """
        if self._background.is_full:
            return None
        if within_s <= 0:
            raise TimeoutError
        return await self._background.wait_for(self._ask(keys), within_s)

    async def _ask(self, keys: Sequence[bytes]) -> list[bytes | None] | None:
        """The rows of some keys; None if the store does not answer in time, or with an error."""
        limit, stalls, started = asyncio.timeout(self._timeout_s), self._stalls, self._clock()
        values = None
        if stalls is not None:
            stalls.began(limit, started)
        try:
            async with limit:
                values = await self._store.get(keys)
        except (TimeoutError, StoreError) as error:
            self._failed(str(error) or f"no answer after {(self._clock() - started) * 1000:.0f} ms")
        finally:
            if stalls is not None:
                stalls.ended(limit, answered=values is not None)
        if values is not None:
            if self._breaker.is_open:
                log.warning("the feature store answers again")
            self._breaker.succeeded()
        return values

    def _failed(self, reason: str) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed()
        if self._breaker.is_open and not was_open:
            log.warning("the feature store does not answer; requests are answered without it: %s", reason)

    def _start_probe(self, keys: Sequence[bytes]) -> None:
        if (self._probe is None or self._probe.done()) and self._breaker.takes_probe():
            self._probe = asyncio.create_task(self._ask(keys))

    def _recall(self, key: bytes) -> tuple[bytes | None, float] | None:
        entry = self._known.recall(key)
        return entry and (entry[0], self._clock() - entry[1])
