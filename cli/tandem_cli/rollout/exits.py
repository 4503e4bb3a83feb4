"""Exit codes of ``tandem rollout``."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
"""Done; of a run: promoted, or concluded."""

FAILED: Final = 1
"""Something did not work, or was refused."""

USAGE: Final = 2
"""The command line is invalid."""

ABORTED: Final = 3
"""The run was aborted or rolled back, or is on its way there."""

UNDECIDED: Final = 4
"""The run is not decided yet, or what was waited for did not happen in time."""

PAUSED: Final = 5
"""The run waits for a person."""

_BY_STATE: Final = {
    "Promoted": DONE,
    "Completed": DONE,
    "Aborting": ABORTED,
    "Aborted": ABORTED,
    "RollingBack": ABORTED,
    "RolledBack": ABORTED,
    "Paused": PAUSED,
    "AwaitingApproval": PAUSED,
}


def of_state(state: str | None) -> int:
    """Exit code that tells of a run's state; without a run there is nothing that is undecided."""
    return DONE if state is None else _BY_STATE.get(state, UNDECIDED)
