"""``python -m benchmarks.overload``: see ``benchmarks/README.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.overload.policies import POLICIES
from benchmarks.overload.simulation import Outcome, Scenario, Simulation

_SEED: Final = 14

SCENARIOS: Final = (
    Scenario("half of capacity", lambda now: 0.5),
    Scenario("0.95 of capacity", lambda now: 0.95),
    Scenario("twice capacity", lambda now: 2.0),
    Scenario("twice, 100 ms each", lambda now: 2.0, timeout_s=0.1),
    Scenario("5 times for 1 s", lambda now: 5.0 if 2 <= now < 3 else 0.3),
    Scenario("predictor 4 times slower for 3 s", lambda now: 0.6, lambda now: 4.0 if 2 <= now < 5 else 1.0),
    Scenario("predictor stalls for 0.4 s", lambda now: 0.6, lambda now: 20.0 if 2 <= now < 2.03 else 1.0),
    Scenario("predictor stalls for 0.8 s", lambda now: 0.6, lambda now: 40.0 if 2 <= now < 2.1 else 1.0),
)


def rows() -> Iterator[tuple[str, str, Outcome]]:
    """Scenario, policy and outcome of every pair of them."""
    for scenario in SCENARIOS:
        for name, policy in POLICIES.items():
            yield scenario.name, name, Simulation(scenario, policy(), _SEED).run()


def main() -> int:
    """Print the table."""
    headings = ("scenario", "limit", "answered of possible", "refused", "late", "p50 ms", "p99 ms")
    table = Table(*headings, title="Limits of waiting rows under load, simulated")
    last = ""
    for scenario, policy, outcome in rows():
        if scenario != last:
            table.add_section()
        milliseconds = np.percentile(np.array(outcome.seconds or [np.nan]) * 1000, [50, 99])
        table.add_row(
            scenario if scenario != last else "",
            policy,
            f"{len(outcome.seconds) / outcome.possible:.3f}",
            f"{outcome.refused / outcome.offered:.3f}",
            f"{outcome.late / outcome.offered:.4f}",
            *(f"{value:.0f}" for value in milliseconds),
        )
        last = scenario
    Console(width=140).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
