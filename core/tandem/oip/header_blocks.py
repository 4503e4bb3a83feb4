"""Header blocks of HTTP/2 that come in (HPACK, RFC 7541). Needs the extra ``grpc``."""

from __future__ import annotations

from typing import Final

from hpack import Decoder
from hpack.table import HeaderTable

_KNOWN_BLOCKS: Final = 100


class HeaderBlocks:
    """Reads the blocks of one connection, whose header table has the size that clients take for granted: 4096.

    Peers say the same thing again and again. While the table stays as it is, equal blocks mean equal headers, which are
    then not decoded again.
    """

    def __init__(self) -> None:
        self._table = _Table()
        self._decoder = Decoder()
        self._decoder.header_table = self._table
        self._known: dict[bytes, dict[str, str]] = {}

    def decode(self, block: bytes) -> dict[str, str]:
        """Headers by name; of several with one name the last.

        Raises:
            HPACKError: The block cannot be read.
        """
        headers = self._known.get(block)
        if headers is None:
            self._table.changed = False
            headers = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if self._table.changed:
                self._known.clear()
            elif len(self._known) < _KNOWN_BLOCKS:
                self._known[block] = headers
        return headers


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
        self.changed |= size != self._maxsize
        HeaderTable.maxsize.fset(self, size)  # type: ignore[attr-defined]
