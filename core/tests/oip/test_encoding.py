from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import MalformedRequest, Overloaded, RequestTooLarge, UnsupportedMedia
from tandem.oip.budgets import Allowance
from tandem.oip.encoding import FREE_BYTES, FREE_RATIO, accepted, compress, decompress

LIMIT = 2**16


class Spent(Allowance):
    """A budget without an end that knows what was spent of it."""

    def __init__(self) -> None:
        super().__init__(0, 1, lambda: 0.0)
        self.amounts: list[float] = []

    def spend(self, amount: float) -> float:
        self.amounts.append(amount)
        return 0.0


def raw_deflate(content: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(content) + stream.flush()


@given(content=st.binary(max_size=2_000), encoding=st.sampled_from([b"gzip", b"deflate"]))
def test_what_is_compressed_is_read(content: bytes, encoding: bytes) -> None:
    assert decompress(compress(content, encoding), encoding, LIMIT) == content


@given(content=st.binary(max_size=2_000))
def test_every_form_that_clients_send_is_read(content: bytes) -> None:
    assert decompress(content, b"identity", LIMIT) == content
    assert decompress(gzip.compress(content), b"x-gzip", LIMIT) == content
    assert decompress(gzip.compress(content), b" GZIP ", LIMIT) == content
    assert decompress(zlib.compress(content), b"deflate", LIMIT) == content
    assert decompress(raw_deflate(content), b"deflate", LIMIT) == content
    assert decompress(gzip.compress(content) + gzip.compress(content), b"gzip", LIMIT) == content + content


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_a_bomb_is_refused_before_it_is_unpacked(encoding: bytes) -> None:
    bomb = compress(bytes(64 * 2**20), encoding)
    tracemalloc.start()
    with pytest.raises(RequestTooLarge, match="longer than 65536 bytes when decompressed"):
        decompress(bomb, encoding, LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LIMIT + 2**20


def test_a_bomb_of_many_members_is_refused() -> None:
    with pytest.raises(RequestTooLarge):
        decompress(gzip.compress(bytes(1000)) * 100, b"gzip", LIMIT)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_what_inflates_much_is_paid_for_in_small_steps_of_which_a_part_is_free(encoding: bytes) -> None:
    bomb, spent = compress(bytes(2**23), encoding), Spent()
    assert len(decompress(bomb, encoding, 2**23, spent)) == 2**23
    assert sum(spent.amounts) == 2**23 - FREE_BYTES - FREE_RATIO * len(bomb)
    assert max(spent.amounts) <= 2**16
    usual = b"".join(b"%d" % (number * number) for number in range(10_000))
    assert decompress(compress(usual, encoding), encoding, 2**20, spent := Spent()) == usual
    assert not spent.amounts


def test_when_the_budget_is_used_up_only_what_inflates_much_is_refused() -> None:
    now = 0.0
    budget = Allowance(2**20, 2**20, lambda: now)
    usual, bomb = gzip.compress(bytes(range(256))), gzip.compress(bytes(2**20))
    assert len(decompress(bomb, b"gzip", 2**20, budget)) == 2**20
    for _ in range(2):
        with pytest.raises(Overloaded) as refused:
            decompress(bomb, b"gzip", 2**20, budget)
        assert (refused.value.code, refused.value.retry_after) == ("overloaded", 1)
    assert decompress(usual, b"gzip", 2**20, budget) == bytes(range(256))
    now = 1.0
    assert len(decompress(bomb, b"gzip", 2**20, budget)) == 2**20


def test_members_without_content_are_paid_for() -> None:
    members = gzip.compress(b"", mtime=0) * 1000
    assert decompress(members, b"gzip", LIMIT, spent := Spent()) == b""
    assert sum(spent.amounts) > 900 * 4000
    with pytest.raises(Overloaded):
        decompress(members, b"gzip", LIMIT, Allowance(2**20, 1, lambda: 0.0))


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1])
def test_the_limit_is_exact(size: int) -> None:
    body = gzip.compress(bytes(size))
    if size > LIMIT:
        with pytest.raises(RequestTooLarge):
            decompress(body, b"gzip", LIMIT)
    else:
        assert len(decompress(body, b"gzip", LIMIT)) == size


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"", b"gzip"),
        (b"", b"deflate"),
        (b"not compressed", b"gzip"),
        (b"not compressed", b"deflate"),
        (gzip.compress(b"cut" * 99, mtime=0)[:-9], b"gzip"),
        (gzip.compress(b"abc", mtime=0) + b"trailing", b"gzip"),
        (zlib.compress(b"abc") + b"trailing", b"deflate"),
        (zlib.compress(b"abc")[:-2], b"deflate"),
    ],
)
def test_damaged_bodies_are_refused(body: bytes, encoding: bytes) -> None:
    with pytest.raises(MalformedRequest):
        decompress(body, encoding, LIMIT)


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip", b"nonsense"])
def test_other_encodings_are_refused(encoding: bytes) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        decompress(b"", encoding, LIMIT)
    assert refused.value.code == "unsupported_encoding"


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        (b"gzip", b"gzip"),
        (b"gzip, deflate, br", b"gzip"),
        (b"deflate", b"deflate"),
        (b"br, GZIP;q=0.5", b"gzip"),
        (b"gzip;q=0, deflate;q=0.1", b"deflate"),
        (b"gzip; q=0.0", None),
        (b"*", b"gzip"),
        (b"gzip;q=0, *", b"deflate"),
        (b"*;q=0", None),
        (b"identity", None),
        (b"br", None),
        (b"", None),
    ],
)
def test_the_encoding_of_an_answer(header: bytes, encoding: bytes | None) -> None:
    assert accepted(header) == encoding
