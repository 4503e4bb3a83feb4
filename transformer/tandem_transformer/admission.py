"""Which calls may wait for a batch: as many as can be answered in time, by how fast batches are answered now.

Source of the choice: ``docs/decisions/0011-aimd-limits-the-queue.md``, measured by ``benchmarks/overload``.
"""

from __future__ import annotations

from collections import Counter as Tally
from math import ceil, inf

from tandem.errors import Overloaded
from tandem_transformer.aimd import Limit, Sample, adapt
from tandem_transformer.batch import Call
from tandem_transformer.call_queue import CallQueue
from tandem_transformer.pace import Pace


class Admission:
    """Decides which calls wait, while others do.

    Args:
        max_queued_rows: Rows that may wait at most.
        max_batches: Batches on their way at once. So many rows, and those of one batch, may wait or be on their way
            however long they take.
        max_batch_rows: Most rows of one batch.
        target_s: Seconds within which calls should be answered: fewer rows may wait as soon as one takes longer. 0 to
            let as many wait as there may.

    Attributes:
        running_rows: Rows that are on their way.
        room: Rows that may wait now.
        pace: How fast batches are answered.
        shed: Calls that were refused, by reason: ``deadline``, ``queue`` (``max_queued_rows`` wait), ``limit`` (as many
            wait as may now), ``priority`` and ``share`` (another call has taken the place).
    """

    def __init__(
        self, max_queued_rows: int, *, max_batches: int = 8, max_batch_rows: int = 256, target_s: float = 0.0
    ) -> None:
        self.running_rows = 0
        self.pace = Pace()
        self.shed: Tally[str] = Tally()
        self._most = max_queued_rows
        self._least = min(max(max_batch_rows, max_batches), max_queued_rows)
        # with a full queue and all batches on their way
        self._highest = max_queued_rows + max_batches * max(max_batch_rows, 1)
        self._target_s = target_s or inf
        self._limit = Limit(self._highest)
        # kept up to date rather than computed: each call asks for it twice
        self.room = max_queued_rows

    def is_tight(self, call: Call, queue: CallQueue) -> bool:
        """Whether a call may not simply wait behind all others: :meth:`settle` says what becomes of it."""
        rows, pace = queue.rows, self.pace
        return rows + call.size > self.room or call.arrived + pace.batch_s + rows * pace.row_s > call.deadline

    def settle(self, call: Call, queue: CallQueue) -> list[Call]:
        """Let a call wait that :meth:`is_tight`, or refuse it.

        Returns:
            Calls that have left the queue for it; they are to be refused instead.

        Raises:
            Overloaded: ``overloaded`` if there is no room for it, and no other call has less claim to it;
                ``deadline_unreachable`` if it could not be answered in time.
        """
        self._check_deadline(call, queue)
        if queue.rows + call.size <= self.room:
            return []
        removed = queue.make_room(call)
        if not removed:
            raise self.refusal(queue)
        for other in removed:
            self.shed["priority" if other.is_low and not call.is_low else "share"] += 1
        return removed

    def _check_deadline(self, call: Call, queue: CallQueue) -> None:
        wait_s = self.pace.batch_s + queue.rows_ahead(call) * self.pace.row_s
        if call.arrived + wait_s > call.deadline:
            self.shed["deadline"] += 1
            raise Overloaded(
                f"about {wait_s * 1000:.0f} ms would pass before an answer, which is more than the request has",
                code="deadline_unreachable",
                retry_after=self._retry_after(queue),
            )

    def is_closed(self, queue: CallQueue) -> bool:
        """Whether a call could not wait whatever its size and its priority, if all calls are of one tenant."""
        return queue.rows >= self.room and not queue.has_low

    def refusal(self, queue: CallQueue) -> Overloaded:
        """The error of a call that is refused since there is no room for it, which is counted."""
        self.shed["limit" if self.room < self._most else "queue"] += 1
        return self.overloaded(queue)

    def overloaded(self, queue: CallQueue) -> Overloaded:
        """The error of a call for which there is no room."""
        return Overloaded(f"{queue.rows} rows are waiting already", retry_after=self._retry_after(queue))

    def left(self, rows: int) -> None:
        """A batch of so many rows is on its way."""
        self._set_running(self.running_rows + rows)

    def _set_running(self, rows: int) -> None:
        self.running_rows = rows
        self.room = min(self._most, int(self._limit.rows) - self.running_rows)

    def answered(self, rows: int, waiting: int, seconds: float, now: float) -> None:
        """A batch has been answered.

        Args:
            rows: Its rows.
            waiting: Rows that wait.
            seconds: From the arrival of its oldest call to its answer.
            now: The time.
        """
        inside = waiting + self.running_rows
        # most batches of a transformer that has room say nothing
        if seconds > self._target_s or 2 * inside > self._limit.rows:
            sample = Sample(seconds, rows, inside, now)
            self._limit = adapt(self._limit, sample, target_s=self._target_s, least=self._least, most=self._highest)
        self._set_running(self.running_rows - rows)

    def _retry_after(self, queue: CallQueue) -> int:
        """Whole seconds after which about all that wait now is answered."""
        return max(1, ceil(self.pace.batch_s + queue.rows * self.pace.row_s))
