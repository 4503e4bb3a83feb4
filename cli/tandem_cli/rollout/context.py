"""The context of a command: targets, clock and IDs. Tests replace it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tandem_cli.rollout.targets.selection import Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext:
    """The context of a command.

    Attributes:
        targets: The available targets.
        now: The time in seconds since the epoch.
        sleep: Waits for a number of seconds.
        create_id: Creates the ID of a command.
    """

    targets: Targets = field(default_factory=Targets)
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    create_id: Callable[[], str] = lambda: secrets.token_hex(8)
