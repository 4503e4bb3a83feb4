"""Predictions by vector: equal vectors of one bundle are predicted once within the time that a prediction is kept.

The key is a hash of the bundle's digest, its signature and the bytes of the vector. So what is kept can never answer
for another model, version or contract, nor for features that have changed since. The key does not include whether
defaults replaced stored values: the lookup of each request reports that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tandem.inputs import Tensors
from tandem_transformer.shared_predictions import SharedPredictions

ENTRY_BYTES: Final = 512
"""What an entry takes beside the bytes of its outputs: the key, arrays of one row, and its place in the table."""

_KEY_BYTES: Final = 16

Row = tuple[NDArray[Any], ...]
"""One row of each output, as an array of one row, in the order of the names."""


@dataclass(slots=True)
class CacheCounts:
    """Rows by how they were answered.

    Attributes:
        hits: From the cache, or from that which all processes share.
        joined: By a call of the predictor that was under way for an equal vector.
        misses: By a call of the predictor.
        precomputed: By predictions of the store that were computed ahead.
        missing: In another way, since the store has no prediction computed ahead that answers them.
        stale: In another way, since it has one that is too old.
    """

    hits: int = 0
    joined: int = 0
    misses: int = 0
    precomputed: int = 0
    missing: int = 0
    stale: int = 0

    def add(self, hits: int, joined: int, misses: int) -> None:
        """Count further rows."""
        self.hits += hits
        self.joined += joined
        self.misses += misses

    def missed(self, rows: int, stale: int) -> None:
        """Count rows that no prediction computed ahead answers; for some of them there is one that is too old."""
        self.missing += rows - stale
        self.stale += stale

    def take_missed(self) -> dict[str, int]:
        """The rows since the last time that no prediction computed ahead answered, by reason."""
        counts = {"missing": self.missing, "stale": self.stale}
        self.missing = self.stale = 0
        return counts

    def take(self) -> dict[str, int]:
        """The counts since the last time, by what answered."""
        counts = {"hit": self.hits, "joined": self.joined, "miss": self.misses, "precomputed": self.precomputed}
        self.hits = self.joined = self.misses = self.precomputed = 0
        return counts


class PredictionCache:
    """Predictions of one bundle, kept for some time within a number of bytes; the least recently used go first.

    Args:
        identity: Digest and signature of the bundle.
        max_bytes: Most bytes of all entries.
        ttl_s: Seconds for which a prediction is kept.
        clock: Seconds.
        counts: Counters of hits and misses; each call adds its rows.
        shared: Predictions of all processes, which are read before the predictor is asked.
    """

    def __init__(
        self,
        identity: bytes,
        max_bytes: int,
        ttl_s: float,
        clock: Callable[[], float],
        counts: CacheCounts,
        shared: SharedPredictions | None = None,
    ) -> None:
        self._shared = shared
        self._counts = counts
        self._identity = hashlib.sha256(identity).digest()
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, int, Row]] = OrderedDict()
        self._size = 0
        self._names: tuple[str, ...] = ()
        self._pending: dict[bytes, asyncio.Future[dict[bytes, Row]]] = {}

    async def infer(self, tensors: Tensors, predict: Callable[[Tensors], Awaitable[Tensors]]) -> Tensors:
        """Output tensors, row by row from the cache or the predictor.

        Args:
            tensors: Input tensors; the first axis is the rows.
            predict: Asks the predictor, for the rows that are not kept.

        Raises:
            Exception: what ``predict`` raises.
        """
        keys = row_keys(tensors, self._identity)
        rows = {key: row for key in keys if (row := self._get(key)) is not None}
        # backwards, so that of equal vectors the first one counts
        unknown = {keys[at]: at for at in reversed(range(len(keys))) if keys[at] not in rows}
        awaited = {key: self._pending[key] for key in unknown if key in self._pending}
        own = {key: at for key, at in unknown.items() if key not in awaited}
        joined = sum(key in awaited for key in keys)
        if own:
            rows |= await self._predict(own, tensors, predict)
        for key, pending in awaited.items():
            # shielded: a batch that gives up must not take the rows from the others that wait for them
            rows[key] = (await asyncio.shield(pending))[key]
        self._counts.add(len(keys) - len(own) - joined, joined, 0)
        columns = zip(*(rows[key] for key in keys), strict=True)
        return {name: np.concatenate(column) for name, column in zip(self._names, columns, strict=True)}

    async def _predict(
        self, own: dict[bytes, int], tensors: Tensors, predict: Callable[[Tensors], Awaitable[Tensors]]
    ) -> dict[bytes, Row]:
        pending: asyncio.Future[dict[bytes, Row]] = asyncio.get_running_loop().create_future()
        self._pending.update(dict.fromkeys(own, pending))
        try:
            rows = await self._read_shared(own)
            if missing := {key: at for key, at in own.items() if key not in rows}:
                rows |= await self._ask(missing, tensors, predict)
        except BaseException as error:
            # whoever joined asks for itself again, or gives up as it would have
            pending.set_exception(error if isinstance(error, Exception) else ConnectionError("the call was given up"))
            # an exception that nobody joined for must not be reported as lost
            pending.exception()
            raise
        finally:
            for key in own:
                del self._pending[key]
        for key, row in rows.items():
            self._put(key, row)
        pending.set_result(rows)
        return rows

    async def _ask(
        self, missing: dict[bytes, int], tensors: Tensors, predict: Callable[[Tensors], Awaitable[Tensors]]
    ) -> dict[bytes, Row]:
        """Rows of the predictor."""
        indices = list(missing.values())
        outputs = await predict({name: tensor[indices] for name, tensor in tensors.items()})
        self._names = self._names or tuple(outputs)
        rows = {key: tuple(outputs[name][at : at + 1] for name in self._names) for at, key in enumerate(missing)}
        self._counts.add(0, 0, len(missing))
        if self._shared is not None:
            self._shared.put({key: dict(zip(self._names, row, strict=True)) for key, row in rows.items()})
        return rows

    async def _read_shared(self, own: Iterable[bytes]) -> dict[bytes, Row]:
        """Rows that another process has predicted."""
        if self._shared is None:
            return {}
        outputs = await self._shared.get(list(own))
        if outputs:
            self._names = self._names or tuple(next(iter(outputs.values())))
        rows = {key: tuple(row[name] for name in self._names) for key, row in outputs.items()}
        self._counts.add(len(rows), 0, 0)
        return rows

    def _get(self, key: bytes) -> Row | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires, size, row = entry
        if expires <= self._clock():
            del self._entries[key]
            self._size -= size
            return None
        self._entries.move_to_end(key)
        return row

    def _put(self, key: bytes, row: Row) -> None:
        # a copy: a view of the whole batch would keep all of it
        row = tuple(part.copy() for part in row)
        size = ENTRY_BYTES + sum(_size(part) for part in row)
        self._entries[key] = self._clock() + self._ttl_s, size, row
        self._size += size
        while self._size > self._max_bytes:
            _, (_, dropped, _) = self._entries.popitem(last=False)
            self._size -= dropped


def row_keys(tensors: Tensors, identity: bytes) -> list[bytes]:
    """A key of 16 bytes for each row.

    Args:
        tensors: Named tensors; the first axis is the rows.
        identity: What tells the vectors of one bundle from those of all others, at most 64 bytes.
    """
    parts = [_row_bytes(tensor) for _, tensor in sorted(tensors.items())]
    return [
        hashlib.blake2b(b"".join(row), digest_size=_KEY_BYTES, key=identity).digest()
        for row in zip(*parts, strict=True)
    ]


def _row_bytes(tensor: NDArray[Any]) -> list[bytes]:
    rows = tensor.reshape(len(tensor), -1)
    if tensor.dtype != object:
        content, width = np.ascontiguousarray(rows).tobytes(), rows.shape[1] * rows.itemsize
        return [content[start : start + width] for start in range(0, len(rows) * width, width)]
    texts = [[str(value).encode(errors="surrogatepass") for value in row] for row in rows.tolist()]
    # with the length before each text, or two rows could be split differently and have one key
    return [b"".join(b"%d:%b" % (len(text), text) for text in row) for row in texts]


def _size(part: NDArray[Any]) -> int:
    return part.nbytes if part.dtype != object else sum(64 + 4 * len(str(value)) for value in part.ravel().tolist())
