from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from tandem import Bundle
from tandem.inputs import Degradation
from tandem_stream.answers import AnswerWriter


def test_a_value_has_the_answer_and_what_is_copied(bundle: Bundle) -> None:
    writer = AnswerWriter(bundle, "out", copied_fields=["asked_at"])
    answers = {"minutes": np.array([1.5, 2.0]), "eta": np.array(["a\nb", "ç"], object)}
    request = {"asked_at": np.array(["2026-05-01T08:00", "NaT"], "datetime64[us]"), "parts": np.array([1, 2])}
    degraded = {1: {"depot": Degradation("stale", "default")}}
    first, second = (msgspec.json.decode(value) for value in writer.values(answers, degraded, request))
    assert first == {"asked_at": "2026-05-01T08:00:00.000000Z", "minutes": 1.5, "eta": "a\nb"}
    assert second["asked_at"] is None
    assert second["degraded"] == {"depot": {"reason": "stale", "source": "default"}}


def test_a_message_names_its_record_and_version(bundle: Bundle, records_of: Any) -> None:
    records = records_of([b"{}"], headers=[("traceparent", b"00-1")])
    message = AnswerWriter(bundle, "out").message(records, 0, b"{}")
    assert (message.topic, message.key, message.timestamp) == ("out", b"k0", records.timestamps[0])
    assert dict(message.headers) == {
        "traceparent": b"00-1",
        "tandem-model": bundle.wire_name.encode(),
        "tandem-version": b"v1",
        "tandem-source": "rides/0/0",
    }


def test_an_event_has_attributes_of_its_own(bundle: Bundle, records_of: Any) -> None:
    records = records_of([b"{}"], headers=[("traceparent", b"00-1"), ("ce_id", b"theirs"), ("Content-Type", b"x")])
    headers = AnswerWriter(bundle, "out", form="cloudevents").message(records, 0, b"{}").headers
    assert [value for name, value in headers if name == "ce_id"] == ["rides/0/0"]
    assert dict(headers)["ce_time"] == "2026-05-01T01:46:40.000Z"
    assert "Content-Type" not in dict(headers) and dict(headers)["traceparent"] == b"00-1"
