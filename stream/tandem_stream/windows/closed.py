"""Closed windows as messages: JSON objects with the columns of a table of windows."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np

from tandem.dtypes import Column
from tandem.rows import json_values
from tandem.store_keys import split_entity
from tandem.windows.engine import ClosedWindows
from tandem.windows.layout import WindowLayout
from tandem.windows.state import definition_hash
from tandem_stream.records import Header, Message

VIEW: Final = "tandem-view"
"""Header: name of the feature view."""

DEFINITION: Final = "tandem-definition"
"""Header: what tells apart different definitions of a view, hexadecimal."""

_encoder: Final = msgspec.json.Encoder()


class WindowMessages:
    """Makes the messages of a view's closed windows.

    The key of a message is the entity, as in the key of the online store. Its value has the keys as text, the times
    ``event_time`` (the end), ``created`` (the end plus the grace) and ``window_start``, and the features.

    Args:
        layout: Of the view.
        topic: Where the messages go.
    """

    def __init__(self, layout: WindowLayout, topic: str) -> None:
        self._topic = topic
        self._keys = layout.view.keys
        self._grace = np.timedelta64(layout.window.grace_us, "us")
        # the same in all messages
        self._headers: list[Header] = [
            (VIEW, layout.view.name.encode()),
            (DEFINITION, definition_hash(layout).hex().encode()),
        ]

    def messages(self, closed: ClosedWindows) -> list[Message]:
        """One message for each window, in their order."""
        if not len(closed):
            return []
        keys = zip(*(split_entity(entity, len(self._keys)) for entity in closed.entities), strict=True)
        columns: dict[str, list[Any]] = dict(zip(self._keys, map(list, keys), strict=True))
        times = {"event_time": closed.ends, "created": closed.ends + self._grace, "window_start": closed.starts}
        columns |= {name: json_values(column) for name, column in times.items()}
        columns |= {name: _nullable(column, closed.nulls.get(name)) for name, column in closed.columns.items()}
        names = tuple(columns)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        # one call for all of them; JSON has no line break within a value
        values = _encoder.encode_lines(rows).split(b"\n")[:-1]
        return [
            Message(self._topic, entity, value, self._headers)
            for entity, value in zip(closed.entities, values, strict=True)
        ]


def _nullable(column: Column, null: Column | None) -> list[Any]:
    values = json_values(column)
    if null is None:
        return values
    return [None if is_null else value for value, is_null in zip(values, null.tolist(), strict=True)]
