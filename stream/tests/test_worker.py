"""The loop: what is delivered, what is waited for, and when the clients are opened anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tandem import Bundle
from tandem.errors import Unavailable
from tandem_stream.clients import SessionLost, Stopped
from tandem_stream.metrics import Metrics
from tandem_stream.records import Message, Records
from tandem_stream.scoring import Scored
from tandem_stream.topics import StreamError
from tandem_stream.worker import MOST_SESSIONS, Session, Worker


class Topics:
    """A topic with batches, and one that keeps what is delivered; both may fail as they are told to."""

    def __init__(self, *batches: Records, failures: dict[str, list[Exception]] | None = None) -> None:
        self.batches = list(batches)
        self.failures = failures or {}
        self.delivered: list[Message] = []
        self.done = 0
        self.idled: list[float] = []
        self.resumed = 0
        self.opened = 0
        self.closed = 0
        self.left = 0
        self.at_end: Callable[[], None] = lambda: None
        self.partitions = {0, 1}

    def open(self) -> Session:
        self.opened += 1
        return Session(self, self)  # type: ignore[arg-type]

    def poll(self) -> Records | None:
        self._fail("poll")
        if self.done < len(self.batches):
            return self.batches[self.done]
        self.at_end()
        return None

    def deliver(self, records: Records, messages: list[Message]) -> None:
        self._fail("deliver")
        self.delivered += messages
        self.done += 1

    def idle(self, seconds: float) -> None:
        self._fail("idle")
        self.idled.append(seconds)

    def resume(self) -> None:
        self.resumed += 1

    def leave(self) -> None:
        self.left += 1

    def lag(self) -> dict[int, int]:
        return {0: len(self.batches) - self.done}

    def close(self) -> None:
        # once for each half of a session
        self.closed += 1

    def _fail(self, method: str) -> None:
        if self.failures.get(method):
            raise self.failures[method].pop(0)


def score(records: Records) -> Scored:
    return Scored(values={row: value or b"" for row, value in enumerate(records.values)})


def compose(records: Records, scored: Scored) -> list[Message]:
    return [Message("out", None, value, []) for value in scored.values.values()]


def run(bundle: Bundle, topics: Topics, score: Callable[[Records], Scored] = score) -> tuple[Worker, Metrics]:
    metrics = Metrics(bundle)
    worker = Worker(topics.open, score, compose, metrics)
    topics.at_end = worker.stop
    worker.run()
    return worker, metrics


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"model": "parcels", "version": "v1", **labels})


def test_batch_after_batch_is_delivered(bundle: Bundle, records_of: Any) -> None:
    topics = Topics(records_of([b"a", b"b"]), records_of([b"c"]))
    worker, metrics = run(bundle, topics)
    assert [message.value for message in topics.delivered] == [b"a", b"b", b"c"]
    assert (topics.opened, topics.closed) == (1, 2) and not worker.is_ready
    assert sample(metrics, "tandem_stream_rows_total", outcome="predicted") == 3
    assert sample(metrics, "tandem_rows_per_batch_count") == 2
    assert sample(metrics, "tandem_stream_delay_seconds_count") == 3
    assert sample(metrics, "tandem_stream_lag_records", partition="0") == 0
    assert sample(metrics, "tandem_stream_partitions") == 2


@pytest.mark.parametrize("method", ["poll", "deliver"])
def test_a_lost_session_is_opened_anew_and_nothing_is_lost(bundle: Bundle, records_of: Any, method: str) -> None:
    topics = Topics(records_of([b"a"]), records_of([b"b"]), failures={method: [SessionLost("no broker")]})
    _, metrics = run(bundle, topics)
    assert [message.value for message in topics.delivered] == [b"a", b"b"]
    assert (topics.opened, topics.closed, topics.left) == (2, 4, 1)
    assert sample(metrics, "tandem_stream_sessions_total") == 2


def test_a_worker_that_delivers_nothing_ends(bundle: Bundle, records_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem_stream.worker._LONGEST_PAUSE_S", 0.0)
    failures: list[Exception] = [SessionLost("too large")] * MOST_SESSIONS
    topics = Topics(records_of([b"a"]), failures={"deliver": failures})
    with pytest.raises(StreamError, match="nothing could be delivered in 10 attempts: too large"):
        run(bundle, topics)
    assert topics.closed == 2 * topics.opened == 2 * MOST_SESSIONS


def test_who_is_replaced_ends_at_once(bundle: Bundle, records_of: Any) -> None:
    topics = Topics(records_of([b"a"]), failures={"deliver": [StreamError("another worker")]})
    with pytest.raises(StreamError, match="another worker"):
        run(bundle, topics)
    assert (topics.opened, topics.closed, topics.left) == (1, 2, 0)


def test_a_batch_waits_for_its_backends_and_says_so(bundle: Bundle, records_of: Any) -> None:
    topics = Topics(records_of([b"a"]))
    outages: list[str] = ["store_unavailable", "predictor_unavailable", "predictor_unavailable"]
    states: list[tuple[bool, float | None, float | None]] = []
    metrics = Metrics(bundle)

    def score_later(records: Records) -> Scored:
        paused = [sample(metrics, "tandem_stream_paused", backend=name) for name in ("store", "predictor")]
        states.append((worker.is_ready, *paused))
        if outages:
            raise Unavailable("down", code=outages.pop(0))
        return score(records)

    worker = Worker(topics.open, score_later, compose, metrics)
    topics.at_end = worker.stop
    worker.run()
    assert states == [(True, 0, 0), (False, 1, 0), (False, 0, 1), (False, 0, 1)]
    assert topics.idled == [0.1, 0.2, 0.4] and topics.resumed == 1
    assert [message.value for message in topics.delivered] == [b"a"]
    assert sample(metrics, "tandem_stream_paused", backend="predictor") == 0


def test_a_worker_that_waits_can_be_stopped(bundle: Bundle, records_of: Any) -> None:
    topics = Topics(records_of([b"a"]))

    def never(records: Records) -> Scored:
        worker.stop()
        raise Unavailable("down", code="store_unavailable")

    worker = Worker(topics.open, never, compose, Metrics(bundle))
    worker.run()
    assert topics.delivered == [] and topics.closed == 2


def test_partitions_that_go_away_meanwhile_end_the_session(bundle: Bundle, records_of: Any) -> None:
    topics = Topics(records_of([b"a"]), failures={"idle": [SessionLost("gone")]})
    outages = [Unavailable("down", code="store_unavailable")]

    def score_later(records: Records) -> Scored:
        if outages:
            raise outages.pop()
        return score(records)

    run(bundle, topics, score_later)
    assert topics.opened == 2 and len(topics.delivered) == 1


def test_a_stop_while_the_broker_is_down_is_no_failure(bundle: Bundle, records_of: Any) -> None:
    topics = Topics(records_of([b"a"]), failures={"deliver": [Stopped()]})
    worker = Worker(topics.open, score, compose, Metrics(bundle))

    def stop_first(records: Records) -> Scored:
        worker.stop()
        return score(records)

    worker._score = stop_first
    worker.run()
    assert topics.delivered == [] and topics.closed == 2
