"""A rollout, looked at again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tandem_cli.rollout.current import Current, current
from tandem_cli.rollout.setting import Setting
from tandem_cli.rollout.target import Target, TargetError

EVERY_S: Final = 1.0
_MOST_FAILURES: Final = 30
"""In a row: an API server that restarts is no reason to stop watching."""


def looks(target: Target, name: str, setting: Setting, *, timeout: float, every: float = EVERY_S) -> Iterator[Current]:
    """The rollout from time to time, at least once, until the time is over.

    Args:
        target: Where it is.
        name: Its name.
        setting: The clock.
        timeout: Seconds.
        every: Seconds between two looks.

    Raises:
        TargetError: It could not be read many times in a row, or not once in the time.
        NoRolloutError: It is gone.
    """
    until, failures, seen = setting.now() + timeout, 0, False
    while True:
        try:
            found = current(target.get(name))
        except TargetError:
            failures += 1
            if failures >= _MOST_FAILURES or (not seen and setting.now() >= until):
                raise
        else:
            failures, seen = 0, True
            yield found
        left = until - setting.now()
        if left <= 0:
            return
        setting.sleep(min(every, left))
