"""``python -m benchmarks.chaos``: see ``benchmarks/README.md``."""

from __future__ import annotations

import sys

from benchmarks.chaos.run import main

if __name__ == "__main__":
    sys.exit(main())
