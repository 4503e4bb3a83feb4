"""The commands that write rows to a server of the Redis protocol, packed, and those that list them.

Comparing event times and writing is one script, so that it is one step for the server.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import redis

from tandem.stores.redis_connections import pack

Row = tuple[bytes, bytes]
"""Key and packed row."""

# Times are compared by halves, since a number of Lua is a float, and exact up to 2**53 only. MGET has nothing for a
# value of another type, which is replaced then, as by SET. One key may come several times.
PUT_NEWER: Final = b"""
local newer, writes, latest, n = {}, {}, {}, 0
local stored = redis.call('MGET', unpack(KEYS))
for i, key in ipairs(KEYS) do
  local row, old, keep = ARGV[i], latest[key] or stored[i], false
  if old and #old >= 12 and #row >= 12 and string.sub(old, 1, 4) == string.sub(row, 1, 4) then
    local old_low, old_high = struct.unpack('<I4i4', old, 5)
    local low, high = struct.unpack('<I4i4', row, 5)
    keep = old_high > high or (old_high == high and old_low > low)
  end
  if keep then
    newer[#newer + 1] = i
  else
    writes[n + 1], writes[n + 2] = key, row
    latest[key] = row
    n = n + 2
  end
end
local ttl = ARGV[#KEYS + 1]
if ttl then
  for i = 1, n, 2 do redis.call('SET', writes[i], writes[i + 1], 'PX', ttl) end
elseif n > 0 then
  redis.call('MSET', unpack(writes))
end
return newer
"""
"""For KEYS and as many rows in ARGV: write the rows of which there is no newer one, and return the places of the rest,
from 1. A further argument is the time to live in milliseconds."""

KEYS_PER_SCAN: Final = 1_000
"""Keys that are listed, and read, at once."""

_SHA1: Final = hashlib.sha1(PUT_NEWER, usedforsecurity=False).hexdigest().encode()


def put_newer(rows: Sequence[Row], ttl_s: float | None, *, by_hash: bool = False) -> bytes:
    """The script for some rows; its reply is the places of those that are not written, from 1.

    Args:
        rows: Keys and rows.
        ttl_s: Seconds after which they expire; None for never.
        by_hash: Name the script in place of sending it; the server may answer ``NOSCRIPT``.
    """
    script = (b"EVALSHA", _SHA1) if by_hash else (b"EVAL", PUT_NEWER)
    ttl = () if ttl_s is None else (b"%d" % _milliseconds(ttl_s),)
    return pack(*script, b"%d" % len(rows), *(key for key, _ in rows), *(row for _, row in rows), *ttl)


def put(rows: Sequence[Row], ttl_s: float | None, *, only_new: bool = False) -> list[bytes]:
    """``SET`` of each row.

    Args:
        rows: Keys and rows.
        ttl_s: Seconds after which they expire; None for never.
        only_new: Only where there is no value.
    """
    new = (b"NX",) if only_new else ()
    options = new if ttl_s is None else (*new, b"PX", b"%d" % _milliseconds(ttl_s))
    return [pack(b"SET", key, row, *options) for key, row in rows]


def scan(
    client: redis.Redis | redis.RedisCluster, read: Callable[[Sequence[bytes]], Any], prefix: bytes
) -> Iterator[list[Row]]:
    """Rows whose keys begin with a prefix, in batches; a row may come twice, and one that is gone meanwhile does not.

    Args:
        client: redis-py's client without asyncio.
        read: Reads the values of some keys, None for none.
        prefix: What the keys begin with.

    Raises:
        RedisError: if the server cannot be reached or refuses.
    """
    # these characters have a meaning in patterns
    pattern = re.sub(rb"([*?\[\]\\^-])", rb"\\\1", prefix) + b"*"
    keys = iter(client.scan_iter(match=pattern, count=KEYS_PER_SCAN))
    while batch := list(islice(keys, KEYS_PER_SCAN)):
        yield [(key, row) for key, row in zip(batch, read(batch), strict=True) if row is not None]


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
