"""Header blocks of HTTP/2 (HPACK, RFC 7541), those that come in and our own. Needs the extra ``grpc``."""

from __future__ import annotations

from typing import Final

from hpack import Decoder
from hpack.table import HeaderTable

NO_TABLE: Final = b"\x20"
"""How each first header block of a stream begins: the sender's header table has size 0 (RFC 7541, section 6.3)."""

LONGEST: Final = 2**16
"""Longest list of headers of one request: names and values, and 32 bytes for each (RFC 9113, section 6.5.2)."""

# bounds what a client whose blocks are all different makes a connection hold
_KNOWN_BLOCKS: Final = 100
_LONGEST_KNOWN: Final = 1024


class HeaderBlocks:
    """Reads the blocks of one connection, whose header table has the size that clients take for granted: 4096.

    Peers send the same headers again and again. While the table stays as it is, equal blocks mean equal headers,
    which are then not decoded again.
    """

    def __init__(self) -> None:
        self._table = _Table()
        # a list that is longer than allowed, but not by far, is refused with its request and not with the connection
        self._decoder = Decoder(max_header_list_size=2 * LONGEST)
        self._decoder.header_table = self._table
        self._known: dict[bytes, dict[str, str]] = {}

    def decode(self, block: bytes) -> dict[str, str] | None:
        """Headers by name, None if they are longer than :data:`LONGEST`.

        Of several with one name the last counts. Bytes that are not ASCII are read as ISO 8859-1.

        Raises:
            HPACKError: The block cannot be read, or says far more than is allowed.
        """
        headers = self._known.get(block)
        if headers is None:
            self._table.changed = False
            fields = self._decoder.decode(block, raw=True)
            if sum(len(name) + len(value) + 32 for name, value in fields) > LONGEST:
                return None
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
            # the same bytes mean other headers now, those of this block too
            if self._table.changed:
                self._known.clear()
            elif len(block) <= _LONGEST_KNOWN:
                # all at once: with deadlines of all lengths, those that come now are not the first ones
                if len(self._known) >= _KNOWN_BLOCKS:
                    self._known.clear()
                self._known[block] = headers
        return headers


def indexed(index: int, value: str) -> bytes:
    """A literal header whose name is in the static table, for no table (RFC 7541, section 6.2.2)."""
    # a number of four bits, or 15 and the rest in the next byte (RFC 7541, section 5.1)
    name = bytes([index]) if index < 15 else bytes([15, index - 15])
    return name + _literal(value)


def literal(name: str, value: str) -> bytes:
    """A literal header, for no table (RFC 7541, section 6.2.2)."""
    return b"\0" + _literal(name) + _literal(value)


class _Table(HeaderTable):
    """A header table that knows whether it was changed."""

    changed = False

    def add(self, name: bytes, value: bytes) -> None:
        self.changed = True
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, size: int) -> None:
        # a smaller table drops entries without a call of add
        self.changed |= size != self._maxsize
        HeaderTable.maxsize.fset(self, size)  # type: ignore[attr-defined]


def _literal(text: str) -> bytes:
    octets = text.encode()
    if len(octets) < 127:
        return bytes([len(octets)]) + octets
    # what does not fit into seven bits follows in groups of seven (RFC 7541, section 5.1)
    rest, length = len(octets) - 127, [127]
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes([*length, rest]) + octets
