from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.errors import MalformedRequest, RequestTooLarge, UnsupportedMedia
from tandem.oip.encoding import accepted, compress, decompress

LIMIT = 2**16


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
