from __future__ import annotations

from typing import Any

from tandem import Bundle
from tandem.errors import MalformedRequest
from tandem_stream.answers import AnswerWriter
from tandem_stream.composition import compose_messages
from tandem_stream.dead_letters import DeadLetters
from tandem_stream.scoring import Scored


def test_each_record_has_its_message_in_its_place(bundle: Bundle, records_of: Any) -> None:
    scored = Scored(values={0: b"{}", 2: b"x" * 100_000}, rejected={1: MalformedRequest("no")})
    letters = DeadLetters("dead", ("tandem-model", "m-1"), 100_000)
    messages = compose_messages(AnswerWriter(bundle, "out"), letters, records_of([b"a", b"b", b"c"]), scored)
    assert [(message.topic, message.key, message.value) for message in messages] == [
        ("out", b"k0", b"{}"),
        ("dead", b"k1", b"b"),
        ("dead", b"k2", b"c"),
    ]
    assert dict(messages[2].headers)["tandem-reason"] == "answer_too_large"
    # counted as what they became
    assert scored.values.keys() == {0} and scored.rejected.keys() == {1, 2}
