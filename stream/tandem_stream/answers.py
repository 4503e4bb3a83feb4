"""Predictions as messages: a JSON object with the fields of the answer for each record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np

from tandem.bundle import Bundle
from tandem.dtypes import Column, Columns
from tandem.inputs import Degradation
from tandem.rows import json_values
from tandem_stream.cloudevents import event_headers, is_attribute
from tandem_stream.dead_letters import SOURCE
from tandem_stream.records import Header, Message, Records

Format = Literal["json", "cloudevents", "avro"]
"""What the values of events are. Predictions are CloudEvents or else JSON."""

_encoder: Final = msgspec.json.Encoder()


class AnswerWriter:
    """Makes the messages of one version's predictions.

    A message has the key, the headers and the time of its record. Its value has the fields of the answer, as in an
    answer online: also ``degraded``, where there is something to say.

    Args:
        bundle: The version.
        topic: Where the messages go.
        form: ``"cloudevents"`` to write events in binary mode.
        copied_fields: Fields of the contract that are repeated in each value.
    """

    def __init__(self, bundle: Bundle, topic: str, *, form: Format = "json", copied_fields: Sequence[str] = ()) -> None:
        self._topic = topic
        self._is_event = form == "cloudevents"
        self._source = f"/models/{bundle.name}/versions/{bundle.version}"
        self._copied = tuple(copied_fields)
        # the same in all messages
        self._own: list[Header] = [
            ("tandem-model", bundle.wire_name.encode()),
            ("tandem-version", bundle.version.encode()),
        ]

    def values(
        self, answers: Columns, degraded: Mapping[int, Mapping[str, Degradation]], request: Mapping[str, Column]
    ) -> list[bytes]:
        """One JSON object for each row.

        Args:
            answers: A column for each field of the answer.
            degraded: For rows with stored values that were not used: why, by view.
            request: Columns of the contract.

        Raises:
            UnicodeEncodeError: if a text cannot be written, such as one with half of a surrogate pair.
        """
        columns = {name: request[name] for name in self._copied} | answers
        names = tuple(columns)
        lists = [json_values(column) for column in columns.values()]
        objects: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)]
        for row, reasons in degraded.items():
            objects[row]["degraded"] = reasons
        # one call for all of them; JSON has no line break within a value
        return _encoder.encode_lines(objects).split(b"\n")[:-1]

    def message(self, records: Records, row: int, value: bytes) -> Message:
        """The message of one record's prediction.

        Args:
            records: The batch.
            row: Which of its records.
            value: Of :meth:`values`.
        """
        place = records.place(row)
        timestamp = int(records.timestamps[row])
        headers = [*records.headers[row], *self._own, (SOURCE, place)]
        if self._is_event:
            headers = [header for header in headers if not is_attribute(header[0])]
            headers += event_headers(place, self._source, _rfc3339(timestamp))
        return Message(self._topic, records.keys[row], value, headers, timestamp)


def _rfc3339(milliseconds: int) -> str | None:
    return None if milliseconds < 0 else f"{np.datetime64(milliseconds, 'ms')}Z"
