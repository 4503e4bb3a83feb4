"""Nothing decides by a message: stories end the same, whatever words are written where people read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
import pytest
from rollout.tests.nonsense import garbled, silent, speak_nonsense
from rollout.tests.rollouts import manifest

from tandem_rollout.analysis.packing import pack
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.status import RolloutStatus
from tandem_rollout.controller import records
from tandem_rollout.controller.interface import VerificationFailure
from tandem_rollout.controller.report import Reporter

from .test_canary import V1, V2, V3, command, edit, started
from .world import Controller, World, controller, crashed, verification, world

Story = Callable[[World, Controller], Awaitable[None]]


async def promoted_by_hand(here: World, ctl: Controller) -> None:
    """Commands that are rejected in between, a restart, a roll-back."""
    steps = [{"weight": 10, "minDuration": "30s", "pause": True}, {"weight": 50, "minDuration": "30s"}]
    await started(here, ctl, strategy={"canary": {"steps": steps, "bake": "1m"}})
    edit(here, bundle=V2)
    await ctl.run(100)
    command(here, "start", 1)
    await ctl.run(10)
    ctl.start_again()
    command(here, "resume", 2)
    await ctl.run(10)
    command(here, "pause", 3)
    await ctl.run(10)
    command(here, "pause", 4)
    await ctl.run(10)
    ctl.start_again()
    command(here, "promote", 5)
    await ctl.run(100)
    command(here, "abort", 6)
    await ctl.run(10)
    command(here, "rollback", 7)
    await ctl.run(60)
    command(here, "start", 8)
    await ctl.run(60)


async def taken_back(here: World, ctl: Controller) -> None:
    """A canary that fails, is asked for again, and is started again; the version after it breaks the contract."""
    here.errors = {"athlete:v2": 0.05}
    here.answers["athlete:v3"] = verification("v3", age={"type": "float64"})
    await started(here, ctl)
    edit(here, bundle=V2)
    await ctl.run(600)
    ctl.start_again()
    edit(here, bundle=V1)
    await ctl.run(60)
    edit(here, bundle=V2)
    await ctl.run(60)
    command(here, "start", 1)
    await ctl.run(20)
    edit(here, bundle=V3)
    await ctl.run(700)


async def rejected(here: World, ctl: Controller) -> None:
    """A version that does not prove itself, one that does not start, a gateway without metrics, nobody who asks."""
    await started(here, ctl, analysis={"metrics": [{"type": "errors", "noData": "fail"}], "warmup": "0s"})
    here.answers["athlete:v2"] = VerificationFailure("VerificationFailed", "row 3 differs", True)
    edit(here, bundle=V2)
    await ctl.run(700)
    here.pods["athlete:v3"] = crashed("no store")
    edit(here, bundle=V3)
    await ctl.run(700)
    here.answers.clear()
    here.pods.clear()
    here.outage = "connection refused"
    command(here, "start", 1)
    await ctl.run(100)
    here.outage, here.rate = "", 0.0
    ctl.start_again()
    await ctl.run(100)
    here.rate = 200.0
    await ctl.run(600)


async def without_runs(here: World, ctl: Controller) -> None:
    """Weights as written: a revision that waits, an invalid spec, a name that another object has."""
    here.server.put("inferencerollouts", manifest(bundle=V1))
    await ctl.run(30)
    here.answers["athlete:v2"] = VerificationFailure("VerificationUnavailable", "no answer", False)
    edit(here, bundle=V2)
    await ctl.run(30)
    ctl.start_again()
    here.answers.clear()
    await ctl.run(200)
    edit(here, bundle={"image": "athlete:v1", "pvc": "both"})
    await ctl.run(30)
    edit(here, bundle=V1)
    await ctl.run(30)


def other_words(record: Record) -> Record:
    """The same evidence in other words."""
    return msgspec.convert(garbled(msgspec.to_builtins(record)), Record)


STORIES: dict[Story, set[str]] = {
    promoted_by_hand: {"StepPauses", "InvalidState", "PausedByUser", "PromotedByUser", "RolledBackByUser"},
    taken_back: {"MetricsFailed", "VersionTried", "RestartedByUser", "ContractBroken"},
    rejected: {"VerificationFailed", "ContainerFailed", "PrometheusUnreachable", "NoRequests"},
    without_runs: {"VerificationUnavailable", "SuccessorNotReady", "Invalid"},
}
"""What happens, and reasons that are given on the way."""


def reasons(value: Any) -> set[str]:
    """All reasons in something that was written."""
    if isinstance(value, dict):
        own = {value["reason"]} if isinstance(value.get("reason"), str) else set()
        return own.union(*map(reasons, value.values()))
    return set().union(*map(reasons, value)) if isinstance(value, list | tuple) else set()


async def outcomes(story: Story) -> tuple[list[Any], set[Any], Any]:
    """All that is written in a story but words: statuses and routes in order, kinds of events, evidence."""
    async with world() as here, controller(here) as ctl:
        await story(here, ctl)
        assert ctl.failed == []
        written: list[Any] = []
        last: dict[str, Any] = {}
        for _, (plural, _, name), resource in here.server.history:
            if plural in ("inferencerollouts", "httproutes"):
                outcome = silent(resource.get("status") or {}) if plural == "inferencerollouts" else resource["spec"]
                if last.get(f"{plural}/{name}") != outcome:
                    written.append((plural, name, outcome))
                last[f"{plural}/{name}"] = outcome
        events = {(event["reason"], event["type"]) for event in here.server.all("events")}
        assert STORIES[story] <= reasons(written), reasons(written)
        evidence = [records.record_of(item) for item in here.server.all("rolloutevidences")]
        return written, events, silent(msgspec.to_builtins(evidence))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_nothing_is_decided_by_a_message(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = await outcomes(story)
    report = Reporter.report

    async def report_nonsense(self: Reporter, manifest: Mapping[str, Any], status: RolloutStatus) -> None:
        await report(self, manifest, msgspec.convert(garbled(msgspec.to_builtins(status)), RolloutStatus))

    speak_nonsense(monkeypatch)
    monkeypatch.setattr(Reporter, "report", report_nonsense)
    monkeypatch.setattr(records, "pack", lambda record: pack(other_words(record)))
    assert await outcomes(story) == expected
