"""The serving process: ``python -m benchmarks.hop.server STACK PORT``. It says ``ready``, then answers."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from benchmarks.hop import messages, stack


async def serve(name: str, port: int) -> None:
    """Answer each request of a known size with its answer."""
    answers = {len(messages.request(rows)): messages.answer(rows) for rows in messages.ROWS}

    async def handler(message: bytes) -> bytes:
        return answers[len(message)]

    server = await stack.load(name).serve(port, handler)
    print("ready", flush=True)
    await asyncio.Event().wait()
    del server


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
