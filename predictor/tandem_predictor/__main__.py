"""``python -m tandem_predictor``: serve the models of a directory."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tandem import logs
from tandem.oip import serving
from tandem_predictor import server
from tandem_predictor.config import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0 after a graceful stop, 1 if a model is refused or a port is taken or lost, 2 if the command line is invalid.
    """
    config = parse(argv)
    logs.configure()
    return serving.run(server.serve(config))


if __name__ == "__main__":
    sys.exit(main())
