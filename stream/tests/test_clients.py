from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from tandem_stream.clients import (
    Patience,
    SessionLost,
    Stopped,
    as_failure,
    consumer_properties,
    producer_properties,
)
from tandem_stream.topics import StreamError


class Call:
    """A call that fails in given ways before it succeeds."""

    def __init__(self, *errors: KafkaError) -> None:
        self.errors = list(errors)
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        if self.errors:
            raise KafkaException(self.errors.pop(0))


DELAY = KafkaError(KafkaError._TIMED_OUT, "later", retriable=True)
ABORT = KafkaError(KafkaError.INVALID_TXN_STATE, "abort", txn_requires_abort=True)
FENCED = KafkaError(KafkaError._FENCED, "fenced", fatal=True)


def test_a_delayed_call_is_made_again() -> None:
    call = Call(DELAY, DELAY)
    Patience(lambda: False, 0.0).until_done(call)
    assert call.count == 3


@pytest.mark.parametrize(("error", "kind"), [(ABORT, SessionLost), (FENCED, StreamError)])
def test_any_other_error_ends_it(error: KafkaError, kind: type[Exception]) -> None:
    call = Call(DELAY, error)
    with pytest.raises(kind):
        Patience(lambda: False, 0.0).until_done(call)
    assert call.count == 2


def test_a_worker_that_stops_waits_no_longer_than_its_grace() -> None:
    call = Call(DELAY, DELAY)
    with pytest.raises(Stopped):
        Patience(lambda: True, -1.0).until_done(call)
    assert call.count == 1


def test_a_refusal_is_final() -> None:
    error = as_failure(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "no"))
    assert isinstance(error, StreamError)


def test_the_guarantee_cannot_be_configured_away() -> None:
    unsafe = {"enable.auto.commit": "true", "isolation.level": "read_uncommitted", "acks": "0", "linger.ms": "50"}
    consumer = consumer_properties("b:1", unsafe, group="g", instance="w0", session_s=6)
    assert (consumer["enable.auto.commit"], consumer["isolation.level"]) == (False, "read_committed")
    assert (consumer["group.instance.id"], consumer["session.timeout.ms"]) == ("w0", 6000)
    producer = producer_properties("b:1", unsafe, transactional_id="t", max_bytes=1)
    assert (producer["acks"], producer["transactional.id"], producer["linger.ms"]) == ("all", "t", "50")
    assert "transactional.id" not in producer_properties("b:1", {}, transactional_id=None, max_bytes=1)
