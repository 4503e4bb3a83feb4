from __future__ import annotations

import pytest
from hpack import Encoder, HPACKError
from hypothesis import given
from hypothesis import strategies as st

from tandem.oip.header_blocks import LONGEST, NO_TABLE, HeaderBlocks, literal

names = st.sampled_from([":path", ":authority", "te", "grpc-timeout", "user-agent", "x-a", "x-b"])
headers = st.dictionaries(names, st.text("abcXYZ0189 ~", max_size=40), min_size=1)
tables = st.sampled_from([None, None, None, 0, 64, 300, 4096])


@given(st.lists(st.tuples(headers, st.booleans(), tables), max_size=30), st.data())
def test_blocks_of_any_encoder_are_read(
    blocks: list[tuple[dict[str, str], bool, int | None]], data: st.DataObject
) -> None:
    encoder, decoder = Encoder(), HeaderBlocks()
    for block, huffman, table in blocks:
        if table is not None:
            encoder.header_table_size = table
        sensitive = data.draw(st.booleans())
        encoded = encoder.encode([(name, value, sensitive) for name, value in block.items()], huffman=huffman)
        assert decoder.decode(encoded) == block


def test_a_block_that_refers_to_the_table_is_read_anew_when_the_table_has_changed() -> None:
    decoder = HeaderBlocks()
    newest = b"\xbe"
    for value in ("1", "2", "2", "3"):
        decoder.decode(b"\x40\x01a\x01" + value.encode())
        for _ in range(2):
            assert decoder.decode(newest) == {"a": value}


def test_a_block_without_a_table_is_known_again() -> None:
    decoder = HeaderBlocks()
    block = NO_TABLE + literal("a", "1")
    decoder.decode(block)  # the table shrinks
    assert decoder.decode(block) is decoder.decode(block)
    decoder.decode(b"\x3f\xe1\x1f" + b"\x40\x01b\x012")  # it grows again, and has an entry
    assert decoder.decode(b"\xbe") == {"b": "2"}
    assert decoder.decode(block) == {"a": "1"}
    with pytest.raises(HPACKError):
        decoder.decode(b"\xbe")


def test_a_block_is_known_again_after_many_others() -> None:
    decoder = HeaderBlocks()
    for value in range(1000):
        block = NO_TABLE + literal("grpc-timeout", f"{value}m")
        assert decoder.decode(block) == {"grpc-timeout": f"{value}m"}
        decoder.decode(block)  # the table shrinks at the first one
        assert decoder.decode(block) is decoder.decode(block)


def test_a_table_larger_than_is_allowed_is_refused() -> None:
    with pytest.raises(HPACKError):
        HeaderBlocks().decode(b"\x3f\xe2\x1f")


def test_bytes_that_are_no_text_are_read_all_the_same() -> None:
    assert HeaderBlocks().decode(NO_TABLE + b"\0\x01a\x02\xf5\xc3") == {"a": "õÃ"}


def test_headers_that_are_too_long_are_none_of_any() -> None:
    decoder = HeaderBlocks()
    assert decoder.decode(NO_TABLE + literal("a", "x" * (LONGEST - 33))) == {"a": "x" * (LONGEST - 33)}
    assert decoder.decode(NO_TABLE + literal("a", "x" * (LONGEST - 32))) is None
    with pytest.raises(HPACKError):
        decoder.decode(NO_TABLE + literal("a", "x" * 2 * LONGEST))
