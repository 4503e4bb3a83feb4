"""The thread that writes the prediction log: blocks out of what has gathered, appended to segment files."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from tandem.errors import Unavailable
from tandem.prediction_log.records import LoggedBatch, LoggedFeedback
from tandem.prediction_log.segments import Payload
from tandem.prediction_log.spool import Spool

log = logging.getLogger(__name__)

Reason = Literal["queue_full", "disk_full", "write_failed", "encoding_failed", "expired"]
"""Why records are lost: too many waited, the directory or the disk was full, the file could not be written, the records
could not be encoded, or they were older than they may be when they were removed."""

NOT_LOGGED: Final = "prediction_log_unavailable"
"""Code of the error where an answer may not be given because it cannot be logged."""

Content = LoggedBatch | LoggedFeedback

_EXPIRY_S: Final = 60.0
_CLOSE_S: Final = 10.0
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(slots=True, eq=False)
class Entry:
    """What waits to be written.

    Attributes:
        content: Records.
        size: About its bytes in memory.
        written: Is resolved when it is in the file, or cannot be written; None where nobody waits for that.
    """

    content: Content
    size: int
    written: asyncio.Future[None] | None = None


@dataclass(slots=True)
class LogTotals:
    """What has become of records since the process began. Each number has one thread that writes it.

    Attributes:
        written: Records in files.
        lost: Records by reason.
    """

    written: int = 0
    # all reasons from the start: the other thread must not meet a dict that grows
    lost: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(get_args(Reason), 0)))


class Writer(threading.Thread):
    """Writes what is put into its queue, in order.

    Args:
        spool: Where to.
        encode: Makes blocks of batches and feedback.
        loop: On which the futures of entries are resolved.
        flush_s: Seconds for which entries gather, unless one of them is waited for.
        sync: Whether to wait for the disk.
    """

    def __init__(
        self,
        spool: Spool,
        encode: Callable[[Sequence[Content]], list[Payload]],
        loop: asyncio.AbstractEventLoop,
        *,
        flush_s: float,
        sync: bool,
    ) -> None:
        super().__init__(name="prediction-log", daemon=True)
        self._spool = spool
        self._encode = encode
        self._loop = loop
        self._flush_s = flush_s
        self._sync = sync
        self._entries: deque[Entry] = deque()
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._closing = self._failing = False
        self._next_expiry = 0.0
        self._appended = self._taken = 0
        self.totals = LogTotals()

    @property
    def queued_bytes(self) -> int:
        """About how many bytes wait to be written."""
        return self._appended - self._taken

    def put(self, entry: Entry) -> None:
        """Queue an entry; never waits. Only for the thread of the event loop."""
        self._appended += entry.size
        self._entries.append(entry)
        self._wake.set()
        if entry.written is not None:
            self._urgent.set()

    def close(self) -> None:
        """Write what is queued, complete the segment, and end; a disk that hangs is not waited for."""
        self._closing = True
        self._wake.set()
        self._urgent.set()
        self.join(_CLOSE_S)
        if self.is_alive():
            log.error("not all predictions are logged: the disk does not take them")

    def run(self) -> None:
        """Write until the end."""
        while not self._closing or self._entries:
            due_s = self._spool.due_s()
            self._wake.wait(_EXPIRY_S if due_s is None else min(due_s, _EXPIRY_S))
            if self._entries:
                # so that columns of many batches are put together at once; a client does not wait for that
                self._urgent.wait(self._flush_s)
            self._wake.clear()
            self._urgent.clear()
            # as many as there are now: others come while these are written
            entries = [self._entries.popleft() for _ in range(len(self._entries))]
            if entries:
                self._write(entries)
                self._taken += sum(entry.size for entry in entries)
            self._keep_house()
        self._complete()

    def _write(self, entries: Sequence[Entry]) -> None:
        error: Exception | None = None
        try:
            payloads = self._encode([entry.content for entry in entries])
        except Exception as reason:
            # alone, so that only those are lost that cannot be encoded
            if len(entries) > 1:
                for entry in entries:
                    self._write([entry])
                return
            log.exception("records cannot be encoded for the prediction log")
            self.totals.lost["encoding_failed"] += entries[0].content.rows
            error = reason
        else:
            error = self._append(payloads)
        awaited = [entry.written for entry in entries if entry.written is not None]
        if awaited:
            self._loop.call_soon_threadsafe(_resolve, awaited, error)

    def _append(self, payloads: Sequence[Payload]) -> Exception | None:
        rows = sum(count for count, _ in payloads)
        try:
            if payloads:
                self._spool.write(payloads, sync=self._sync)
        except Exception as error:  # whatever it is, the thread must go on
            is_full = isinstance(error, OSError) and error.errno in _FULL
            self.totals.lost["disk_full" if is_full else "write_failed"] += rows
            if not self._failing:
                log.error("predictions are not logged: %s", error)
            self._failing = True
            return error
        if self._failing:
            log.warning("predictions are logged again")
        self._failing = False
        self.totals.written += rows
        return None

    def _keep_house(self) -> None:
        """Complete the segment when it is time, and remove what is too old."""
        if self._spool.due_s() == 0:
            self._complete()
        now = time.monotonic()
        if now >= self._next_expiry:
            self._next_expiry = now + _EXPIRY_S
            try:
                self.totals.lost["expired"] += self._spool.expire()
            except OSError as error:
                log.error("old segments of the prediction log cannot be removed: %s", error)

    def _complete(self) -> None:
        try:
            self._spool.complete()
        except OSError as error:
            log.error("a segment of the prediction log cannot be completed: %s", error)


def _resolve(awaited: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for written in awaited:
        # its client may be gone
        if written.done():
            continue
        if error is None:
            written.set_result(None)
        else:
            written.set_exception(
                Unavailable(f"cannot be logged: {error}", code="prediction_log_unavailable", retry_after=1)
            )
