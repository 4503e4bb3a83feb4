"""The messages of a batch: a prediction or a dead letter for each record, in the order of the records."""

from __future__ import annotations

from tandem.errors import Internal
from tandem_stream.answers import AnswerWriter
from tandem_stream.dead_letters import DeadLetters
from tandem_stream.records import Message, Records
from tandem_stream.scoring import Scored


def compose_messages(writer: AnswerWriter, letters: DeadLetters, records: Records, scored: Scored) -> list[Message]:
    """One message for each record.

    Args:
        writer: Makes the messages of predictions.
        letters: Makes dead letters.
        records: The batch.
        scored: What became of it; records whose prediction makes too long a message are rejected.
    """
    messages = []
    for row in range(len(records)):
        if row in scored.values:
            message = writer.message(records, row, scored.values[row])
            if letters.fits(message):
                messages.append(message)
                continue
            del scored.values[row]
            scored.rejected[row] = Internal("the message would be too long", code="answer_too_large")
        messages.append(letters.letter(records, row, scored.rejected[row]))
    return messages
