"""What commands work with: targets, the clock, identities. Tests put their own in its place."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tandem_cli.rollout.choose import Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What commands work with.

    Attributes:
        targets: The targets that there are.
        now: Seconds since the epoch.
        sleep: Waits for so many seconds.
        identity: Makes the identity of a command.
    """

    targets: Targets = field(default_factory=Targets)
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    identity: Callable[[], str] = lambda: secrets.token_hex(8)
