from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.oip import http2
from tandem.oip.http2 import CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, FrameReader, frame

Frames = list[tuple[int, int, int, bytes]]
FRAMES = st.tuples(
    st.integers(10, 255), st.integers(0, 255), st.integers(0, http2.LARGEST_STREAM), st.binary(max_size=40)
)


def read(sent: bytes, size: int = 2**20) -> tuple[FrameReader, Frames]:
    """What comes of some bytes that arrive in pieces of a size."""
    reader, frames = FrameReader(), Frames()
    for start in range(0, len(sent), size):
        reader.feed(sent[start : start + size], lambda *entry: frames.append(entry))
    return reader, frames


@given(st.lists(FRAMES, max_size=10), st.binary(max_size=8), st.integers(1, 60))
def test_frames_come_out_as_they_went_in_whatever_the_pieces(frames: Frames, rest: bytes, size: int) -> None:
    reader, output = read(b"".join(frame(*entry) for entry in frames) + rest, size)
    assert output == frames
    assert (reader.count, reader.within_frame) == (len(frames), bool(rest))


def test_a_header_block_in_several_frames_becomes_one() -> None:
    begun = frame(HEADERS, END_STREAM | http2.PADDED | http2.PRIORITY, 3, b"\x02" + b"\0" * 5 + b"ab" + b"\0\0")
    reader, frames = read(begun + frame(CONTINUATION, 0, 3, b"c"))
    assert (frames, reader.block is not None) == ([], True)
    reader.feed(frame(CONTINUATION, END_HEADERS, 3, b"d"), lambda *whole: frames.append(whole))
    assert frames == [(HEADERS, END_HEADERS | END_STREAM, 3, b"abcd")]
    assert reader.block is None


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(CONTINUATION, END_HEADERS, 1, b""), http2.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(PING, 0, 0, b"12345678"), http2.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 3, b""), http2.PROTOCOL_ERROR),
        (frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, 0, 1, b"") * 64, http2.ENHANCE_YOUR_CALM),
        (frame(HEADERS, 0, 1, b"x" * 2**16) + frame(CONTINUATION, 0, 1, b"x"), http2.ENHANCE_YOUR_CALM),
        (frame(HEADERS, http2.PADDED, 1, b"\x01"), http2.PROTOCOL_ERROR),
        (frame(DATA, 0, 1, b"x" * (http2.FRAME_SIZE + 1))[:9], http2.FRAME_SIZE_ERROR),
    ],
    ids=["no block", "interrupted", "of another stream", "many fragments", "long", "padding", "long frame"],
)
def test_what_is_no_frame_or_comes_out_of_place_is_refused(sent: bytes, code: int) -> None:
    with pytest.raises(http2.ProtocolError) as error:
        read(sent)
    assert error.value.code == code


def test_frames_wait_while_the_reader_is_paused() -> None:
    reader, frames = FrameReader(), Frames()

    def take(*whole: int | bytes) -> None:
        frames.append(whole)  # type: ignore[arg-type]
        reader.paused = len(frames) == 1

    reader.feed(frame(PING, 0, 0, b"1") + frame(PING, 0, 0, b"2"), take)
    reader.feed(frame(PING, 0, 0, b"3"), take)
    assert [payload for *_, payload in frames] == [b"1"]
    reader.paused = False
    reader.feed(b"", take)
    assert [payload for *_, payload in frames] == [b"1", b"2", b"3"]
