"""Entry point of a worker."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tandem import logs
from tandem_stream.running import exit_code
from tandem_stream.settings import parse


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker.

    Returns:
        0 after a graceful stop, 1 if the bundle, a topic or a broker refuses, 2 if the command line is invalid.
    """
    settings = parse(arguments)
    logs.configure()
    return exit_code(settings)


if __name__ == "__main__":
    sys.exit(main())
