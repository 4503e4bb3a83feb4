"""Entry point of a worker: ``tandem-stream`` predicts, and ``tandem-stream features`` computes windows."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial

from tandem import logs
from tandem.errors import TandemError
from tandem_stream import settings
from tandem_stream.running import run
from tandem_stream.windows import settings as window_settings
from tandem_stream.windows.running import run_windows

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker.

    Returns:
        0 after a graceful stop, 1 if the bundle, a topic or a broker refuses, 2 if the command line is invalid.
    """
    start = _parse(sys.argv[1:] if arguments is None else arguments)
    logs.configure()
    try:
        start()
    except (TandemError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


def _parse(arguments: Sequence[str]) -> Callable[[], None]:
    if arguments[:1] == ["features"]:
        return partial(run_windows, window_settings.parse(arguments[1:]))
    return partial(run, settings.parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
