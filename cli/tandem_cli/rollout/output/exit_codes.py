"""Exit codes of ``tandem rollout``."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
"""Success; for a run: promoted or completed."""

FAILED: Final = 1
"""Something failed, or the rollout rejected the command."""

USAGE: Final = 2
"""The command line is invalid."""

ABORTED: Final = 3
"""The run was aborted or rolled back, or is being aborted or rolled back."""

UNDECIDED: Final = 4
"""The run is not decided yet, or the wait timed out."""

PAUSED: Final = 5
"""The run is paused or waits for approval."""

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


def exit_code_of(state: str | None) -> int:
    """The exit code for the state of a run; 0 without a run, since nothing is undecided then."""
    return DONE if state is None else _BY_STATE.get(state, UNDECIDED)
