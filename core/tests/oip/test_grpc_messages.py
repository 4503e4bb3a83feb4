from __future__ import annotations

import contextlib
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import MalformedRequest, RequestTooLarge
from tandem.oip import grpc_messages
from tandem.oip.grpc_messages import BadFraming, answer_encoding, pack, split, unpack

encodings = st.sampled_from(["identity", "gzip", "deflate"])


@given(st.binary(max_size=200) | st.binary(max_size=20).map(lambda part: part * 100), encodings)
def test_there_and_back(content: bytes, encoding: str) -> None:
    framed = pack(content, encoding)
    assert len(framed) <= len(content) + grpc_messages.PREFIX
    assert unpack(framed, encoding, len(content)) == content
    if content:
        with pytest.raises(RequestTooLarge):
            unpack(framed, encoding, len(content) - 1)


@given(st.lists(st.binary(max_size=50)), st.integers(0, 100))
def test_messages_are_split_wherever_they_are_cut(messages: list[bytes], cut: int) -> None:
    framed = list(map(pack, messages))
    stream = b"".join(framed)
    first, rest = split(stream[:cut])
    second, rest = split(rest + stream[cut:])
    assert (first + second, rest) == (framed, b"")


@given(st.binary(max_size=100), st.sampled_from(["identity", "gzip", "deflate", "br", ""]))
def test_any_bytes_are_a_message_or_refused(framed: bytes, encoding: str) -> None:
    with contextlib.suppress(BadFraming, MalformedRequest, RequestTooLarge):
        assert len(unpack(framed, encoding, 1000)) <= 1000


@pytest.mark.parametrize("damage", [lambda z: z[:-1], lambda z: z + b"x", lambda z: z[3:], lambda z: b""])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_damaged(damage: object, encoding: str) -> None:
    whole = damage(pack(b"a" * 100, encoding)[5:])  # type: ignore[operator]
    with pytest.raises(MalformedRequest):
        unpack(b"\1" + len(whole).to_bytes(4, "big") + whole, encoding, 1000)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(RequestTooLarge):
        unpack(b"\1" + len(bomb).to_bytes(4, "big") + bomb, "deflate", 1000)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("encoding", "accepted", "answer"),
    [
        (None, "identity,gzip", "identity"),
        ("gzip", "identity, deflate, gzip", "gzip"),
        ("deflate", "identity,deflate,gzip", "deflate"),
        ("gzip", "identity,deflate", "identity"),
        ("gzip", None, "identity"),
        ("identity", "identity,gzip", "identity"),
        ("br", "br", "identity"),
    ],
)
def test_answers_are_compressed_as_the_request_was(encoding: str | None, accepted: str | None, answer: str) -> None:
    headers = {"grpc-encoding": encoding, "grpc-accept-encoding": accepted}
    assert answer_encoding({name: value for name, value in headers.items() if value is not None}) == answer
