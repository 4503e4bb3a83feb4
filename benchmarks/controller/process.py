"""The controller's own process. Only where transformers are differs: here no cluster's DNS knows their Services."""

from __future__ import annotations

import cProfile
import functools
import os
import sys
from typing import Final

from tandem_rollout import __main__
from tandem_rollout.controller import run
from tandem_rollout.controller.verifier import HttpVerifier
from tandem_rollout.render.revision import Revision

PAIRS: Final = "BENCHMARK_PAIRS"
"""Environment variable with the address below which transformers are."""

PROFILE: Final = "BENCHMARK_PROFILE"
"""Environment variable with the file for a profile; none without it."""


def _address(revision: Revision) -> str:
    return f"{os.environ[PAIRS]}/{revision.rollout.namespace}/{revision.name}"


def main() -> int:
    """Run the controller with the flags of this process."""
    # by its own name, so that a renamed class is still replaced
    setattr(run, HttpVerifier.__name__, functools.partial(HttpVerifier, _address))
    if not (path := os.environ.get(PROFILE)):
        return __main__.main()
    profile = cProfile.Profile()
    try:
        return profile.runcall(__main__.main)
    finally:
        profile.dump_stats(path)


if __name__ == "__main__":
    sys.exit(main())
