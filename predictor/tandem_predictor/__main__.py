"""``python -m tandem_predictor``: serve the models of a directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import uvloop

from tandem_predictor import jsonlog
from tandem_predictor.config import parse


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code: 0 after an orderly end, 1 if a model was refused."""
    config = parse(argv)
    jsonlog.configure()
    # gRPC's event engine hands every call through two more threads than its older poller: a quarter of a call's CPU
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener,-event_engine_client")
    from tandem_predictor import server  # gRPC reads the variable when it is imported

    return uvloop.run(server.serve(config))


if __name__ == "__main__":
    sys.exit(main())
