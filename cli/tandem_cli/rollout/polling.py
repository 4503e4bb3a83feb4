"""Reads a rollout again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.snapshot import RolloutSnapshot, read_snapshot
from tandem_cli.rollout.targets.target import Target, TargetError

POLL_SECONDS: Final = 1.0
"""Default time between two reads."""

_MOST_FAILURES: Final = 30
"""Failures in a row after which polling ends: an API server may restart meanwhile."""


def poll(
    target: Target, name: str, context: CommandContext, *, timeout: float, every: float = POLL_SECONDS
) -> Iterator[RolloutSnapshot]:
    """Read a rollout from time to time until the timeout, at least once.

    Args:
        target: The target.
        name: Name of the rollout.
        context: The clock.
        timeout: Seconds until the end.
        every: Seconds between two reads.

    Raises:
        TargetError: if it could not be read many times in a row, or never until the timeout.
        NoRolloutError: if it was deleted.
    """
    until, failures, successes = context.now() + timeout, 0, 0
    while True:
        try:
            snapshot = read_snapshot(target.get(name))
        except TargetError:
            failures += 1
            if failures >= _MOST_FAILURES or (not successes and context.now() >= until):
                raise
        else:
            failures, successes = 0, successes + 1
            yield snapshot
        remaining = until - context.now()
        if remaining <= 0:
            return
        context.sleep(min(every, remaining))
