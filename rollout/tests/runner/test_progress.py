"""The history of runs."""

from __future__ import annotations

from dataclasses import replace

from tandem_rollout.engine.run import Run
from tandem_rollout.runner.progress import history

RUN = Run(number=2, stable="a", canary="b", plan="p", state="Promoted", started=0.0, since=60.0)


def test_a_run_is_in_the_history_once_it_has_ended() -> None:
    earlier = history([], replace(RUN, number=1), "v1", limit=10)
    assert [past.number for past in history(earlier, RUN, "v2", limit=10)] == [2, 1]
    assert history(earlier, replace(RUN, state="Baking"), "v2", limit=10) == earlier
    assert [past.number for past in history(earlier, RUN, "v2", limit=1)] == [2]
    assert history(earlier, None, "", limit=10) == earlier


def test_the_version_of_a_canary_that_is_gone_stays_in_the_history() -> None:
    ended = history([], RUN, "v2", limit=10)
    (past,) = history(ended, replace(RUN, state="RolledBack"), "", limit=10)
    assert (past.outcome, past.version) == ("RolledBack", "v2")
