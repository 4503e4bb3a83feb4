"""Entry point of a worker."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from tandem import logs
from tandem.errors import TandemError
from tandem_stream.running import run
from tandem_stream.settings import parse

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker.

    Returns:
        0 after a graceful stop, 1 if the bundle, a topic or a broker refuses, 2 if the command line is invalid.
    """
    settings = parse(arguments)
    logs.configure()
    try:
        run(settings)
    except (TandemError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
