"""A TCP proxy before the store: ``python -m benchmarks.chaos.proxy PORT STORE_PORT``.

A line on stdin says what it does from now on: ``pass``, ``slow SHARE SECONDS`` or ``garbage``.
"""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

_CHUNK: Final = 65_536
_GARBAGE: Final = 64


@dataclass
class _Behaviour:
    share: float = 0.0
    seconds: float = 0.0
    garbage: bool = False

    def follow(self, line: str) -> None:
        name, *values = line.split()
        self.garbage = name == "garbage"
        self.share, self.seconds = map(float, values) if name == "slow" else (0.0, 0.0)


async def _requests(behaviour: _Behaviour, client: asyncio.StreamReader, store: asyncio.StreamWriter) -> None:
    while chunk := await client.read(_CHUNK):
        if behaviour.share and random.random() < behaviour.share:
            await asyncio.sleep(behaviour.seconds)
        store.write(chunk)
    store.close()


async def _answers(behaviour: _Behaviour, store: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
    while chunk := await store.read(_CHUNK):
        client.write(random.randbytes(_GARBAGE) if behaviour.garbage else chunk)
    client.close()


async def _serve(port: int, store_port: int) -> None:
    behaviour = _Behaviour()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            store_reader, store_writer = await asyncio.open_connection("127.0.0.1", store_port)
            with closing(store_writer):
                await asyncio.gather(
                    _requests(behaviour, reader, store_writer), _answers(behaviour, store_reader, writer)
                )

    async with await asyncio.start_server(connected, "127.0.0.1", port):
        while line := await asyncio.to_thread(sys.stdin.readline):
            behaviour.follow(line)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
