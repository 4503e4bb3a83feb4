"""The windows that are open, and their form as records of a changelog.

A record for each open window, which is replaced when its window changes and deleted when it is closed:

    key     MessagePack [entity, start]
    value   MessagePack [end, part, …], the parts in the order of the view's layout

and one whose key is empty: MessagePack [definition, watermark]. Times are in microseconds since 1970. From the records
the state is restored as it was; those of another definition are rejected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from tandem.errors import StateError
from tandem.windows.layout import Parts, WindowLayout

Record = tuple[bytes, bytes | None]
"""Key and value of a record; without a value, it deletes the key."""

WATERMARK_KEY = b""
_BUCKETS_PER_GAP = 8


class WindowId(NamedTuple):
    """An open window: its entity, and its beginning in microseconds since 1970."""

    entity: bytes
    start: int


class OpenWindow(NamedTuple):
    """What is known of an open window: its end in microseconds since 1970, and its parts."""

    end: int
    parts: Parts


Changes = Mapping[WindowId, OpenWindow | None]
"""Windows that are new or have changed; None for those that are gone."""


class WindowState:
    """The open windows of one partition, and its watermark.

    Args:
        layout: Of the view.

    Attributes:
        layout: Of the view.
        watermark: Greatest event time so far, microseconds since 1970; None before the first event.
    """

    def __init__(self, layout: WindowLayout) -> None:
        self.layout = layout
        self.watermark: int | None = None
        self._windows: dict[bytes, dict[int, OpenWindow]] = {}
        self._count = 0
        # by end, so that those that are due are at hand; ends of windows that end by a gap are many
        window = layout.window
        self._grain = window.hop_us if window.gap_us is None else max(window.gap_us // _BUCKETS_PER_GAP, 1)
        self._buckets: dict[int, set[WindowId]] = {}

    def __len__(self) -> int:
        return self._count

    def of(self, entity: bytes) -> Mapping[int, OpenWindow]:
        """The open windows of an entity, by their beginning."""
        return self._windows.get(entity, {})

    def items(self) -> Iterator[tuple[WindowId, OpenWindow]]:
        """All open windows."""
        for entity, windows in self._windows.items():
            for start, window in windows.items():
                yield WindowId(entity, start), window

    def due(self, until: int) -> list[tuple[WindowId, OpenWindow]]:
        """Windows that end at this time or before it, microseconds since 1970."""
        ids = (id_ for bucket, ids in self._buckets.items() if bucket * self._grain <= until for id_ in ids)
        windows = ((id_, self._windows[id_.entity][id_.start]) for id_ in ids)
        return [(id_, window) for id_, window in windows if window.end <= until]

    def apply(self, changes: Changes, watermark: int | None) -> None:
        """Take over what :func:`~tandem.windows.engine.advance` has computed; not before it is delivered."""
        for id_, window in changes.items():
            self._put(id_, window)
        self.watermark = watermark

    def records(self) -> Iterator[Record]:
        """The whole state as records, such as a snapshot has them; in no particular order."""
        yield from encode_changes(self.layout, dict(self.items()), self.watermark)

    def _put(self, id_: WindowId, window: OpenWindow | None) -> None:
        windows = self._windows.setdefault(id_.entity, {})
        before = windows.pop(id_.start, None)
        self._count += (window is not None) - (before is not None)
        if before is not None:
            self._bucket(before.end).discard(id_)
            if not self._bucket(before.end):
                del self._buckets[before.end // self._grain]
        if window is not None:
            windows[id_.start] = window
            self._bucket(window.end).add(id_)
        elif not windows:
            del self._windows[id_.entity]

    def _bucket(self, end: int) -> set[WindowId]:
        return self._buckets.setdefault(end // self._grain, set())


def encode_changes(layout: WindowLayout, changes: Changes, watermark: int | None) -> Iterator[Record]:
    """Changes as records of a changelog, the watermark last."""
    for id_, window in changes.items():
        value = None if window is None else msgspec.msgpack.encode([window.end, *layout.encode(window.parts)])
        yield msgspec.msgpack.encode(id_), value
    yield WATERMARK_KEY, msgspec.msgpack.encode([definition_hash(layout), watermark])


def restore(layout: WindowLayout, records: Iterable[Record]) -> WindowState:
    """The state of which these are the records, in their order; of those with one key the last counts.

    Raises:
        StateError: if they were written for another definition of the view's windows, or cannot be read.
    """
    latest = dict(records)
    state = WindowState(layout)
    name = layout.view.name
    try:
        head = latest.pop(WATERMARK_KEY, None)
        definition, watermark = (
            (b"", None) if head is None else msgspec.msgpack.decode(head, type=tuple[bytes, int | None])
        )
        if head is not None and definition != definition_hash(layout):
            raise StateError(f"feature view {name!r}: the windows were opened by another definition of the view")
        windows = {_window_id(key): _open_window(layout, value) for key, value in latest.items() if value is not None}
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        raise StateError(f"feature view {name!r}: the state of its windows cannot be read: {error}") from error
    if windows and head is None:
        raise StateError(f"feature view {name!r}: the state of its windows has no watermark")
    state.apply(windows, watermark)
    return state


def definition_hash(layout: WindowLayout) -> bytes:
    """What tells apart states of different definitions, 8 bytes."""
    view = layout.view
    name = msgspec.json.encode([view.name, view.version, view.keys])
    return hashlib.sha256(name + view.window_definition).digest()[:8]


def _window_id(key: bytes) -> WindowId:
    return WindowId(*msgspec.msgpack.decode(key, type=tuple[bytes, int]))


def _open_window(layout: WindowLayout, value: bytes) -> OpenWindow:
    end, *forms = msgspec.msgpack.decode(value, type=list)
    return OpenWindow(end, layout.decode(forms))
