"""The state through the changelog: what is restored is what was written, however often a topic is compacted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from core.tests.windows.brute import STREAMS, WINDOWS, Event, columns_of
from hypothesis import given
from hypothesis import strategies as st

from tandem import Window
from tandem.windows.engine import advance, apply_step
from tandem.windows.state import WindowState
from tandem_stream.records import Message
from tandem_stream.windows.changelog import changelog_messages, position_of
from tandem_stream.windows.states import PartitionStates

from .parts import CompactedTopic, layout_of

SIZES = st.lists(st.integers(1, 9), max_size=8)
"""Of batches; the last one has the rest."""


def batches(events: Sequence[Event], sizes: Sequence[int]) -> list[Sequence[Event]]:
    bounds = [0, *accumulate(sizes), len(events)]
    return [events[first:end] for first, end in pairwise(bounds) if first < end]


@given(WINDOWS, STREAMS, SIZES, st.integers(0, 3), st.booleans())
def test_the_state_is_restored_as_it_was(
    window: Window, events: list[Event], sizes: list[int], partition: int, is_compacted: bool
) -> None:
    layout = layout_of(window)
    state = WindowState(layout)
    compacted = CompactedTopic()
    log: list[Message] = []
    position = 0
    for batch in batches(events, sizes):
        step = advance(state, columns_of(batch))
        apply_step(state, step)
        position += len(batch)
        messages = list(changelog_messages("changelog", partition, step, position))
        assert {message.partition for message in messages} == {partition}
        log.extend(messages)
        for message in messages:
            compacted.write(message)
        states = PartitionStates(layout, compacted.read if is_compacted else lambda _: whole(log))
        restored = states.of(partition, position)
        assert dict(restored.items()) == dict(state.items())
        assert restored.watermark == state.watermark
        assert len(restored) == len(states) == len(dict(state.items())) == len(state)
        assert sorted(restored.due(2**62)) == sorted(state.due(2**62))
    assert compacted.positions.get(partition, 0) == position


def whole(log: Sequence[Message]) -> tuple[dict[bytes, bytes | None], int]:
    """What a reader of a topic that was never compacted keeps."""
    return {message.key or b"": message.value for message in log}, 0


def test_a_record_without_a_position_is_of_the_beginning() -> None:
    assert position_of(None) == position_of([("other", b"7")]) == 0
