"""``python -m tandem_predictor``: serve the models of a directory."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import uvloop

from tandem import logs
from tandem_predictor import server
from tandem_predictor.config import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code: 0 after an orderly end, 1 if a model was refused."""
    config = parse(argv)
    logs.configure()
    return uvloop.run(server.serve(config))


if __name__ == "__main__":
    sys.exit(main())
