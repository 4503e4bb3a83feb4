"""Entry point of a worker."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tandem import logs
from tandem.oip.flags import parser_of
from tandem_stream.running import exit_code
from tandem_stream.settings import StreamSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker.

    Returns:
        0 after a graceful stop, 1 if the bundle, a topic or a broker refuses, 2 if the command line is invalid.
    """
    settings = parse(arguments)
    logs.configure()
    return exit_code(settings)


def parse(arguments: Sequence[str] | None = None) -> StreamSettings:
    """Settings from command-line arguments; ends the process with code 2 and a message if they are invalid."""
    parser = parser_of(StreamSettings, program="tandem-stream", description=__doc__)
    values = vars(parser.parse_args(arguments))
    if not values["source"] or not values["sink"]:
        parser.error("--source and --sink are required")
    return StreamSettings(**values)


if __name__ == "__main__":
    sys.exit(main())
