"""`tandem rollout watch`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tandem_cli.rollout.targets.target import TargetError
from tandem_cli.rollout.watch import Goal, wait_for_goal, watch_run

from .conftest import Tandem
from .world import NOW, Clock, FakeTarget, Manifest, manifest, record


@pytest.fixture(autouse=True)
def running(target: FakeTarget) -> None:
    target.manifests["est"] = manifest(run={})
    target.records["est", 1] = record(target.manifests["est"])


def later(target: FakeTarget, clock: Clock, seconds: float, **run: Any) -> None:
    clock.after(seconds, lambda: target.manifests["est"]["status"]["run"].update(run))


def test_each_change_is_a_line(tandem: Tandem, target: FakeTarget, clock: Clock) -> None:
    later(target, clock, 20, state="Scaling", step=1)
    later(target, clock, 40, state="Promoted", step=2, weight=100, message="passed by errors")
    result = tandem("watch", "est")
    assert result.exit_code == 0
    assert [line.partition(";")[0] for line in result.stdout.splitlines()] == [
        "est run 1: Analyzing, step 1 of 2, weight 10 %",
        "est run 1: Scaling, step 2 of 2, weight 10 %",
        "est run 1: Promoted, weight 100 % (passed by errors)",
    ]
    assert "errors pass, latency pass" in result.stdout


@pytest.mark.parametrize(("state", "code"), [("Promoted", 0), ("Completed", 0), ("Aborted", 3)])
def test_the_exit_code_is_how_the_run_ended(
    tandem: Tandem, target: FakeTarget, clock: Clock, state: str, code: int
) -> None:
    later(target, clock, 5, state=state)
    assert tandem("watch", "est").exit_code == code


@pytest.mark.parametrize(("state", "code"), [("Analyzing", 4), ("Paused", 5), ("AwaitingApproval", 5), ("Baking", 4)])
def test_when_the_time_is_over(tandem: Tandem, target: FakeTarget, clock: Clock, state: str, code: int) -> None:
    later(target, clock, 5, state=state)
    assert tandem("watch", "est", "--timeout", "1m").exit_code == code
    assert clock.now == NOW + 60


class Flaky(FakeTarget):
    """A target that does not answer for a while."""

    failures: int = 0

    def get(self, name: str) -> Manifest:
        if self.failures:
            self.failures -= 1
            raise TargetError("no answer", advice="wait")
        return super().get(name)


def test_an_api_server_that_restarts_is_no_end(target: FakeTarget, clock: Clock) -> None:
    flaky = Flaky(manifests=target.manifests)
    flaky.failures = 10
    later(target, clock, 30, state="Promoted")
    out = Console(file=io.StringIO())
    assert watch_run(flaky, "est", clock.setting(flaky), out, timeout=600, every=2) == 0


def test_one_that_does_not_come_back_is(target: FakeTarget, clock: Clock) -> None:
    flaky = Flaky(manifests=target.manifests)
    flaky.failures = 10**6
    with pytest.raises(TargetError):
        watch_run(flaky, "est", clock.setting(flaky), Console(file=io.StringIO()), timeout=86400, every=2)


def test_waiting_for_what_cannot_be_read_in_the_time_says_so(target: FakeTarget, clock: Clock) -> None:
    flaky = Flaky(manifests=target.manifests)
    flaky.failures = 10
    with pytest.raises(TargetError):
        wait_for_goal(flaky, "est", Goal.PROMOTED, clock.setting(flaky), timeout=2)


def test_a_terminal_shows_the_table_as_it_changes(target: FakeTarget, clock: Clock) -> None:
    later(target, clock, 4, state="Aborted", message="failed by errors")
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=40)
    assert watch_run(target, "est", clock.setting(target), console, timeout=600, every=2) == 3
    shown = out.getvalue()
    assert shown.index("Analyzing") < shown.index("Aborted")
    assert "failed by errors" in shown and "ratio (95 %)" in shown
