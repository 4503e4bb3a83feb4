"""Predictions by vector that all transformers of a bundle share, in an online store.

Nobody depends on it: what does not answer in time, or cannot be read, is asked of the predictor, and writing is not
waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.errors import StoreError
from tandem.inputs import Tensors
from tandem.signature import TensorSpec
from tandem.stores import OnlineStore
from tandem_transformer.breaker import Breaker

log = logging.getLogger(__name__)

PREFIX: Final = b"prediction:"
"""What the keys of predictions begin with, so that they are not those of feature views."""

MAX_WRITES: Final = 16
"""Writes that may be under way at once; further predictions are not shared."""

_NUMBERS: Final = "biuf"
_Output = tuple[str, str, list[int], bytes | list[str]]
"""Name, dtype, shape and content of one output."""


class SharedPredictions:
    """Predictions in a store, by keys that no other bundle has.

    Args:
        store: Where they are kept.
        outputs: Output tensors of the bundle; anything else in the store is not read.
        timeout_s: Seconds that a read or a write may take.
        ttl_s: Seconds for which a prediction is kept.
        clock: Seconds.
    """

    def __init__(
        self,
        store: OnlineStore,
        outputs: Sequence[TensorSpec],
        timeout_s: float,
        ttl_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._outputs = {tensor.name: tensor for tensor in outputs}
        self._timeout_s = timeout_s
        self._ttl_s = ttl_s
        self._breaker = Breaker(clock)
        self._probe: asyncio.Task[object] | None = None
        self._writes: set[asyncio.Task[None]] = set()

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, Tensors]:
        """The outputs, of one row each, of those keys whose predictions are kept.

        Args:
            keys: From :func:`tandem_transformer.prediction_cache.row_keys`.
        """
        if not self._breaker.is_open:
            return await self._ask(keys)
        # nobody waits for a store that does not answer
        if (self._probe is None or self._probe.done()) and self._breaker.takes_probe():
            self._probe = asyncio.create_task(self._ask(keys))
        return {}

    def put(self, rows: Mapping[bytes, Tensors]) -> None:
        """Keep predictions, without waiting for it.

        Args:
            rows: By key, outputs of one row each.
        """
        if self._breaker.is_open or len(self._writes) >= MAX_WRITES:
            return
        task = asyncio.create_task(self._write([(PREFIX + key, encode(outputs)) for key, outputs in rows.items()]))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Finish what is being written, and give back connections."""
        await asyncio.gather(*self._writes)
        if self._probe is not None:
            self._probe.cancel()
        await self._store.close()

    async def _ask(self, keys: Sequence[bytes]) -> dict[bytes, Tensors]:
        try:
            async with asyncio.timeout(self._timeout_s):
                values = await self._store.get([PREFIX + key for key in keys])
        except (TimeoutError, StoreError) as error:
            self._fail(error)
            return {}
        self._breaker.succeeded()
        decoded = {key: decode(value) for key, value in zip(keys, values, strict=True) if value is not None}
        return {key: outputs for key, outputs in decoded.items() if outputs is not None and self._fits(outputs)}

    def _fits(self, outputs: Tensors) -> bool:
        """Whether these are the outputs of the bundle, of one row."""
        if outputs.keys() != self._outputs.keys():
            return False
        return all(_is_row(outputs[name], tensor) for name, tensor in self._outputs.items())

    async def _write(self, rows: list[tuple[bytes, bytes]]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._store.put(rows, overwrite=True, ttl_s=self._ttl_s)
        except (TimeoutError, StoreError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        was_open = self._breaker.is_open
        self._breaker.failed()
        if self._breaker.is_open and not was_open:
            reason = str(error) or f"no answer within {self._timeout_s * 1000:g} ms"
            log.warning("the shared predictions do not answer; the predictor is asked: %s", reason)


def encode(outputs: Tensors) -> bytes:
    """Outputs of one row as bytes that say what they are."""
    return msgspec.msgpack.encode([_encode(name, output) for name, output in outputs.items()])


def decode(value: bytes) -> Tensors | None:
    """Outputs from their bytes; None where these are something else."""
    try:
        return {
            name: _decode(dtype, shape, content)
            for name, dtype, shape, content in msgspec.msgpack.decode(value, type=list[_Output])
        }
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError, SyntaxError):
        return None


def _encode(name: str, output: Any) -> _Output:
    content = output.tobytes() if output.dtype.kind in _NUMBERS else [str(value) for value in output.ravel().tolist()]
    return name, output.dtype.str if output.dtype.kind in _NUMBERS else "O", list(output.shape), content


def _decode(dtype: str, shape: list[int], content: bytes | list[str]) -> Any:
    if isinstance(content, list):
        return np.array(content, object).reshape(shape)
    if np.dtype(dtype).kind not in _NUMBERS:
        raise ValueError("no dtype of numbers")
    return np.frombuffer(content, dtype).reshape(shape)


def _is_row(output: NDArray[Any], tensor: TensorSpec) -> bool:
    """Whether an array is one row of a tensor of the signature."""
    shape = (1, *tensor.shape[1:])
    if output.dtype != tensor.dtype or output.ndim != len(shape):
        return False
    return all(size in (fixed, -1) for fixed, size in zip(output.shape, shape, strict=True))
