"""The process that delivers, as a child of the one that answers."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Final

log = logging.getLogger(__name__)

_RESTART_S: Final = 5.0
_STOP_S: Final = 10.0


class Deliverer:
    """Runs the process that delivers, and starts it again where it ends by itself.

    Args:
        directory: Of the log.
        address: Where to.
    """

    def __init__(self, directory: str, address: str) -> None:
        module = "tandem_transformer.prediction_log.delivery"
        self._command = [sys.executable, "-m", module, directory, address, "--until_eof"]
        self._process: asyncio.subprocess.Process | None = None
        self._running = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Let it deliver what is complete, for some seconds, and end."""
        process = self._process
        self._running.cancel()
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            log.warning("not all predictions are delivered; what is left is delivered after the next start")
            process.kill()
            await process.wait()

    async def _run(self) -> None:
        while True:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=asyncio.subprocess.PIPE)
            code = await self._process.wait()
            log.error("the process that delivers predictions ended", extra={"exit_code": code})
            await asyncio.sleep(_RESTART_S)
