"""What the modes of one run share: the bundle, a store, an event loop, and a pair on the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from tandem import Bundle, StoreError
from tandem.parity import Sample
from tandem.prediction_log.following import follow
from tandem.prediction_log.records import Records
from tandem.stores import open_store
from tandem_cli.local import valkey
from tandem_cli.local.pair import LocalVariant, Pair
from tandem_cli.local.processes import ChildDied
from tandem_cli.local.running import RunningStack

_TRIES: Final = 3
_VARIANT: Final = "parity"
_PATIENCE: Final = (
    "--request_timeout_ms=60000",
    "--predictor_timeout_ms=30000",
    "--store_timeout_ms=30000",
    "--latency_target_ms=0",
)


class SampleStore:
    """A store that has what is stored for one sample.

    Attributes:
        rows: Packed rows by key.
    """

    def __init__(self) -> None:
        self.rows: Mapping[bytes, bytes] = {}

    def get_now(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, None where there is none."""
        return [self.rows.get(key) for key in keys]

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The same, as of an :class:`~tandem.stores.OnlineStore`."""
        return self.get_now(keys)

    async def put(
        self, rows: Iterable[tuple[bytes, bytes]], *, overwrite: bool = False, ttl_s: float | None = None
    ) -> list[bytes]:
        """Nothing writes to it.

        Raises:
            StoreError: always.
        """
        raise StoreError("the store of a sample cannot be written")

    async def close(self) -> None:
        """Nothing to give back."""


class ServedPair:
    """Transformer, predictor and store as processes on the loopback interface, with a prediction log.

    Args:
        bundle: The version that they serve.

    Raises:
        StackError: if they cannot be started.
    """

    def __init__(self, bundle: Bundle) -> None:
        for tries_left in reversed(range(_TRIES)):
            try:
                self._running = _start(bundle)
                break
            except ChildDied as error:
                # a free port can be taken between the choice and its use
                if not (error.port_was_taken and tries_left):
                    raise
        self._updates = follow(_log(self._running))

    @property
    def http_port(self) -> int:
        """HTTP port of the transformer."""
        return self._pair.http_ports[0]

    @property
    def grpc_port(self) -> int:
        """GRPC port of the transformer."""
        return self._pair.grpc_ports[0]

    async def fill(self, stored: Mapping[bytes, bytes]) -> None:
        """Have exactly these rows stored."""
        valkey.clear(self._running.path)
        store = open_store(self._running.store_url)
        await store.put(stored.items(), overwrite=True)
        await store.close()

    def logged(self) -> list[Records]:
        """What has been logged since the last time of requests that were answered."""
        return [records for kind, records in next(self._updates) if kind == "predictions" and records.are_answered]

    def close(self) -> None:
        """Stop the processes."""
        self._running.stop()

    @property
    def _pair(self) -> Pair:
        return self._running.pairs[_VARIANT]


class Session:
    """What the modes of one run share; a context manager.

    Args:
        bundle: The version.

    Attributes:
        bundle: The version.
        store: Has what is stored for the sample that is predicted; for modes in this process.
        runner: Runs coroutines, one after another, in one event loop.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.store = SampleStore()
        self._stack = ExitStack()
        self.runner = self._stack.enter_context(asyncio.Runner())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def use(self, sample: Sample) -> None:
        """Have stored what is stored for a sample, wherever a mode may look it up."""
        self.store.rows = sample.stored
        if "pair" in self.__dict__:
            self.runner.run(self.pair.fill(sample.stored))

    def close_with(self, close: Callable[[], object]) -> None:
        """Call a function in the event loop when the session ends, and before the pair does.

        Args:
            close: Closes connections; the loop runs once more after it, in which they end.
        """

        async def run() -> None:
            close()
            await asyncio.sleep(0)

        self._stack.callback(lambda: self.runner.run(run()))

    @cached_property
    def pair(self) -> ServedPair:
        """The pair, which ends with the session.

        Raises:
            StackError: if it cannot be started.
        """
        return self._stack.enter_context(closing(ServedPair(self.bundle)))


def _log(running: RunningStack) -> Path:
    return running.path / "log"


def _start(bundle: Bundle) -> RunningStack:
    running = RunningStack.begin()
    try:
        # an answer comes after its record is in the file, so that it can be read at once
        flags = [f"--prediction_log={_log(running)}", "--prediction_log_durable", *_PATIENCE]
        variant = LocalVariant(_VARIANT, bundle, 1)
        running.start_pairs([variant], protocol="v2", processes_per_variant=1, flags=flags)
        running.wait_for_store()
        running.wait_for_pairs()
    except BaseException:
        running.stop()
        raise
    return running
