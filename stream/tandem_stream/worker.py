"""The loop of a worker: read a batch, compute, deliver, again and again until it is told to stop.

A worker keeps nothing between two batches that cannot be read again. Whatever goes wrong in between, its clients are
opened anew, and reading goes on after the last batch that was delivered, as it does after the process is killed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from tandem.errors import RequestError
from tandem_stream.clients import SessionLost, Stopped
from tandem_stream.deliveries import Delivery
from tandem_stream.metrics import WorkerMetrics
from tandem_stream.outcomes import OUTAGES, Outcome
from tandem_stream.records import Message, Records
from tandem_stream.source import Source
from tandem_stream.topics import StreamError

log = logging.getLogger(__name__)

MOST_SESSIONS: Final = 10
"""So many sessions in a row that deliver nothing end the worker."""

R = TypeVar("R", bound=Outcome)

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Session:
    """The clients of a worker, from when they are opened until something goes wrong."""

    source: Source
    delivery: Delivery

    def close(self) -> None:
        """Close both."""
        self.delivery.close()
        self.source.close()


class Worker(Generic[R]):
    """Moves records from one topic to others.

    Args:
        open_session: Opens the clients.
        score: What becomes of records, such as :meth:`~tandem_stream.scoring.Scorer.score`. It raises one of
            :data:`~tandem_stream.outcomes.OUTAGES` if the same batch is to be tried again.
        compose: The messages of a batch.
        metrics: Takes what is measured.
        settle: Called with what became of a batch after it was delivered, and before the next one.

    Attributes:
        is_ready: Whether records are being read, and no backend is waited for.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        score: Callable[[Records], R],
        compose: Callable[[Records, R], list[Message]],
        metrics: WorkerMetrics[R],
        settle: Callable[[R], None] = lambda outcome: None,
    ) -> None:
        self.is_ready = False
        self._open_session = open_session
        self._score = score
        self._compose = compose
        self._metrics = metrics
        self._settle = settle
        self._stop = threading.Event()
        self._fruitless = 0

    def stop(self) -> None:
        """Finish the batch that is being worked on, and return from :meth:`run`. From any thread or signal handler."""
        self._stop.set()

    def is_stopping(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stop.is_set()

    def run(self) -> None:
        """Work until :meth:`stop` is called.

        Raises:
            StreamError: another worker has taken over, the broker refuses, or nothing can be delivered.
        """
        while not self.is_stopping():
            try:
                self._run_session()
            except Stopped:
                log.warning("stopped while a broker was down; the next start does the last batch again")
            except SessionLost as error:
                self._fruitless += 1
                log.warning("the clients of Kafka are opened anew: %s", error)
                if self._fruitless >= MOST_SESSIONS:
                    raise StreamError(f"nothing could be delivered in {MOST_SESSIONS} attempts: {error}") from error
                self._stop.wait(min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._fruitless))

    def _run_session(self) -> None:
        session = self._open_session()
        self._metrics.opened()
        self._metrics.paused(None)
        try:
            self.is_ready = True
            while not self.is_stopping():
                records = session.source.poll()
                if records is not None:
                    self._process(session, records)
                self._metrics.lag(len(session.source.partitions), session.source.lag())
        except SessionLost:
            session.source.leave()
            raise
        finally:
            self.is_ready = False
            session.close()

    def _process(self, session: Session, records: Records) -> None:
        started = time.perf_counter()
        scored = self._score_patiently(session, records)
        if scored is None:
            return
        with scored.stages.timed("deliver"):
            session.delivery.deliver(records, self._compose(records, scored))
        self._settle(scored)
        self._fruitless = 0
        self._metrics.batch(records, scored, time.perf_counter() - started)

    def _score_patiently(self, session: Session, records: Records) -> R | None:
        """What becomes of records, as soon as all backends answer; None if the worker is to stop before."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                scored = self._score(records)
                break
            except OUTAGES as error:
                self._wait(session, error, pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            if self.is_stopping():
                return None
        if not self.is_ready:
            log.warning("reading goes on")
            session.source.resume()
            self._metrics.paused(None)
            self.is_ready = True
        return scored

    def _wait(self, session: Session, error: RequestError, seconds: float) -> None:
        if self.is_ready:
            log.warning("reading pauses: %s", error, extra={"code": error.code})
            self.is_ready = False
        self._metrics.paused(error.code)
        session.source.idle(seconds)
