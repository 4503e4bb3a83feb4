"""Records that are put aside as they were: dead letters, with the reason in headers, and events that come too late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from tandem.errors import RequestError
from tandem_stream.records import Header, Message, Records

REASON: Final = "tandem-reason"
"""Header: the code that a client would get for the same row online."""

MESSAGE: Final = "tandem-message"
"""Header: what is wrong, for people."""

DETAILS: Final = "tandem-details"
"""Header: JSON list of the broken rules, each with ``field`` and ``rule``; absent where there are none."""

SOURCE: Final = "tandem-source"
"""Header of predictions and dead letters: ``topic/partition/offset`` of the record."""

OMITTED: Final = "tandem-omitted-bytes"
"""Header: bytes of the record's value, where it is so long that with the headers it would be refused."""

_ROOM: Final = 4096
"""Bytes that are kept for what a broker adds to a message."""

_LONGEST_TEXT: Final = 2000


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Makes the dead letters of a stream.

    Attributes:
        topic: Where they go.
        owner: Header that tells what has rejected the record.
        max_bytes: Most bytes of a message.
    """

    topic: str
    owner: Header
    max_bytes: int

    def fits(self, message: Message) -> bool:
        """Whether a message is short enough, with what a broker adds to it."""
        return message.size() <= self.max_bytes - _ROOM

    def letter(self, records: Records, row: int, error: RequestError) -> Message:
        """The dead letter of one record: its own key, value and headers, then headers that say why.

        Args:
            records: The batch.
            row: Which of its records.
            error: Why it is rejected.
        """
        headers: list[Header] = [
            *records.headers[row],
            (REASON, error.code),
            (MESSAGE, _clip(str(error))),
            (SOURCE, records.place(row)),
            self.owner,
        ]
        if error.details:
            # a record is one row, whose number in a batch says nothing
            details = [{name: value for name, value in detail.items() if name != "row"} for detail in error.details]
            headers.append((DETAILS, _clip(msgspec.json.encode(details, enc_hook=str).decode())))
        value = records.values[row]
        letter = Message(self.topic, records.keys[row], value, headers, int(records.timestamps[row]))
        if value is None or self.fits(letter):
            return letter
        headers.append((OMITTED, str(len(value))))
        return Message(self.topic, letter.key, None, headers, letter.timestamp)


def put_aside(topic: str, records: Records, row: int, owner: Header) -> Message:
    """A record as it was, for another topic.

    Args:
        topic: Where it goes.
        records: The batch.
        row: Which of its records.
        owner: Header that tells what has put it aside.
    """
    headers = [*records.headers[row], owner, (SOURCE, records.place(row))]
    return Message(topic, records.keys[row], records.values[row], headers, int(records.timestamps[row]))


def _clip(text: str) -> bytes:
    """Text of a header; a lone half of a surrogate pair is written as an escape."""
    return text[:_LONGEST_TEXT].encode(errors="backslashreplace")
