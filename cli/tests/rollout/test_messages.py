"""Nothing decides by a message: with other words commands exit the same, and print the same but for the words."""

from __future__ import annotations

import copy
import json
from typing import Any, get_args

import msgspec
import pytest
from rollout.tests.nonsense import garbled, silent

from tandem_rollout.analysis.record import Failure, MetricEvidence, Note, Record, add_note
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.status import LastCommand, RunStatus
from tandem_rollout.engine.decide import decide
from tandem_rollout.engine.inputs import RevisionState, RunInputs
from tandem_rollout.engine.run import Command, State, Verb
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.engine.serialization import from_status, to_status
from tandem_rollout.runner.progress import TRIED

from .conftest import Tandem
from .world import CANARY, NOW, STABLE, Clock, FakeTarget, Manifest, manifest, record

REJECTED = LastCommand(
    id="7", verb="resume", by="bob", result="Rejected", reason="InvalidState", message="cannot resume while Analyzing"
)
SHOWN = (
    ("status", "est", "-o", "json"),
    ("status", "est", "-o", "json", "--exit-code"),
    ("status", "est", "-o", "json", "--wait-for", "promoted", "--timeout", "1s"),
    ("status", "-o", "json"),
    ("explain", "est", "-o", "json"),
    ("history", "est", "-o", "json"),
    ("plan", "est", "-o", "json"),
    ("report", "est", "--format", "json"),
)


def talkative(state: str) -> tuple[Manifest, Record]:
    """A rollout, and its evidence, with something to say in every place."""
    resource = manifest(
        run={
            "state": state,
            "pausedFrom": "Analyzing" if state == "Paused" else "",
            "reason": "MetricsFailed",
            "message": "cannot start while Paused; failed by errors",
            "lastCommand": msgspec.to_builtins(REJECTED),
        }
    )
    status = resource["status"]
    status |= {"reason": TRIED.reason, "message": f"run 1: {state}: failed by errors; {TRIED.message}"}
    status["variants"][0] |= {"phase": "Rejected", "reason": "VerificationFailed", "message": "row 3 differs"}
    status["variants"][1] |= {"phase": "Retired", "reason": "NoReadyPods", "message": "has no ready pods"}
    status["metrics"] = [
        {"name": "errors", "verdict": "provider-error", "reason": "PrometheusUnreachable", "summary": "no answer"}
    ]
    evidence = add_note(record(resource), Note(NOW, state, 10, "MetricsFailed", "failed by errors", "", REJECTED))
    trouble = Failure("NoRequests", "the canary had no requests")
    metrics = {**evidence.metrics, "latency": MetricEvidence(trouble=trouble, unmeasured=trouble)}
    return resource, msgspec.structs.replace(evidence, metrics=metrics)


def shown(tandem: Tandem, *words: str) -> tuple[int, Any, int]:
    """Exit code, document without its words, and lines of errors of a command."""
    result = tandem(*words)
    document = json.loads(result.stdout)
    # two readings of one record differ in their hash alone
    return result.exit_code, silent({**document, "evidence": None}), len(result.stderr.splitlines())


@pytest.mark.parametrize("with_evidence", [True, False], ids=["evidence", "status"])
@pytest.mark.parametrize("state", get_args(State))
def test_what_is_shown(tandem: Tandem, target: FakeTarget, clock: Clock, state: str, with_evidence: bool) -> None:
    resource, evidence = talkative(state)
    outcomes = []
    for rewritten in (copy.deepcopy, garbled):
        target.manifests["est"], clock.now = rewritten(resource), NOW
        if with_evidence:
            target.records["est", 1] = msgspec.convert(rewritten(msgspec.to_builtins(evidence)), Record)
        outcomes.append([shown(tandem, *words) for words in SHOWN])
    assert outcomes[1] == outcomes[0]


@pytest.mark.parametrize("verb", get_args(Verb))
@pytest.mark.parametrize("state", get_args(State))
def test_what_is_answered(tandem: Tandem, target: FakeTarget, state: str, verb: str) -> None:
    resource, _ = talkative(state)
    target.revisions["a:v2"] = CANARY
    outcomes = []
    for rewritten in (copy.deepcopy, garbled):

        def hears(plain: Manifest, command: Command, rewritten: Any = rewritten) -> None:
            planned, run = (
                build_schedule(parse(plain).spec),
                from_status(msgspec.convert(plain["status"]["run"], RunStatus)),
            )
            assert planned is not None and run is not None
            arm = RevisionState(pods=(2, 2), fit=True)
            inputs = RunInputs(specified=CANARY, plan=run.plan, serving=STABLE, stable=arm, canary=arm, command=command)
            after = decide(planned, run, inputs, NOW)
            assert after is not None
            plain["status"]["run"] = rewritten(msgspec.to_builtins(to_status(after, steps=2)))

        target.hears = hears
        target.manifests["est"] = rewritten(resource)
        result = tandem(verb, "est", "--reason", "it is time", "-o", "json", "--timeout", "2s")
        answer = silent({**json.loads(result.stdout), "id": ""}) if result.stdout else None
        outcomes.append((result.exit_code, answer))
    assert outcomes[1] == outcomes[0]
