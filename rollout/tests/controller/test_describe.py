"""The status of a rollout, from what was seen and decided."""

from __future__ import annotations

from typing import Any

import msgspec
from rollout.tests.rollouts import rollout

from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import RolloutStatus, RunStatus
from tandem_rollout.controller.describe import describe, describe_invalid
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.controller.observation import Observed
from tandem_rollout.controller.resources import HTTPRoute
from tandem_rollout.controller.weights import plan_weights
from tandem_rollout.render.revision import Revision

from .world import digest, verification

NOW = 1_800_000_000.0
OF = rollout()
V1, V2 = (Revision.of(OF, variant) for variant in OF.spec.all_variants)


def seen(revision: Revision, **fields: Any) -> Observed:
    default = {"transformers": 1, "predictors": 1, "verification": verification(revision.variant.name)}
    return Observed(variant=revision.variant.name, name=revision.name, **{**default, **fields})


def said(
    *observed: Observed,
    errors: dict[str, WriteError] | None = None,
    route: dict[str, Any] | None = None,
    before: RolloutStatus | None = None,
    now: float = NOW,
) -> RolloutStatus:
    specified = [V1, V2]
    plan = plan_weights(OF, specified, observed, now)
    return describe(
        OF,
        specified,
        observed,
        plan,
        errors or {},
        HTTPRoute.of(route) if route else None,
        "http://u",
        before or RolloutStatus(),
        now,
    )


def condition(status: RolloutStatus, kind: str = "Ready") -> Any:
    return next(entry for entry in status.conditions if entry.type == kind)


def test_a_rollout_that_serves() -> None:
    status = said(seen(V1, weight=90), seen(V2, weight=10))
    assert (status.ready, status.weights, status.message, status.url) == ("2/2", "v1=90 v2=10", "", "http://u")
    assert [(variant.version, variant.digest) for variant in status.variants] == [
        ("v1", digest("v1")),
        ("v2", digest("v2")),
    ]
    assert (condition(status).status, condition(status).reason) == ("True", "Complete")


def test_nothing_is_said_anew_when_nothing_changes() -> None:
    first = said(seen(V1, weight=90), seen(V2, weight=10))
    assert said(seen(V1, weight=90), seen(V2, weight=10), before=first, now=NOW + 1000) == first


def test_times_are_those_of_the_change() -> None:
    first = said(seen(V1, weight=90), seen(V2, weight=10))
    later = said(seen(V1, weight=90), seen(V2, weight=10, predictors=0), before=first, now=NOW + 60)
    assert [variant.since for variant in first.variants] == ["2027-01-15T08:00:00Z"] * 2
    assert [variant.since for variant in later.variants] == ["2027-01-15T08:00:00Z", "2027-01-15T08:01:00Z"]
    assert condition(later).last_transition_time == "2027-01-15T08:01:00Z"
    assert condition(later, "Valid").last_transition_time == "2027-01-15T08:00:00Z"


def test_the_worst_comes_first() -> None:
    status = said(
        seen(V1, verification=None),
        seen(V2, verification=None, fatal=True, problem=Cause("VerificationFailed", "row 3 differs")),
    )
    assert (status.reason, status.message) == ("VerificationFailed", "v2: row 3 differs")
    assert condition(status).reason == "Rejected"
    assert (
        said(seen(V1, verification=None)).message == f"v1: waiting for the verification of the golden rows by {V1.name}"
    )
    assert condition(said()).reason == "Waiting"


def test_a_version_that_is_known_is_not_forgotten_by_a_new_controller() -> None:
    first = said(seen(V1, weight=90), seen(V2, weight=10))
    status = said(seen(V1, weight=90, verification=None), seen(V2, weight=10, verification=None), before=first)
    assert [(variant.phase, variant.version) for variant in status.variants] == [("Ready", "v1"), ("Ready", "v2")]


def test_a_write_that_is_refused_and_one_that_failed() -> None:
    rejected, failed = WriteError("denied", rejected=True), WriteError("timed out", rejected=False)
    assert [variant.phase for variant in said(errors={V1.name: rejected, V2.name: failed}).variants] == [
        "Rejected",
        "Pending",
    ]
    serving = said(seen(V1, weight=90), seen(V2, weight=10), errors={V2.name: rejected})
    assert [(variant.phase, variant.weight) for variant in serving.variants] == [("Ready", 90), ("Ready", 10)]
    assert (serving.message, condition(serving).status) == ("v2: denied", "False")


def test_weights_are_those_that_clients_meet_where_the_route_cannot_be_written() -> None:
    error = {OF.name: WriteError("cannot apply HTTPRoute time-estimator: denied", rejected=True)}
    status = said(seen(V1, weight=50), seen(V2, weight=50), errors=error)
    assert (status.weights, status.message) == ("v1=50 v2=50", str(error[OF.name]))


def test_what_the_gateway_says() -> None:
    refusal = {"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "namespace"}
    route = {"status": {"parents": [{"conditions": [refusal]}]}}
    status = said(seen(V1, weight=90), seen(V2, weight=10), route=route)
    assert status.message == "the gateway does not accept the route: NotAllowedByListeners: namespace"
    assert condition(status).status == "False"


def test_an_invalid_spec_is_said_and_all_else_stays() -> None:
    before = said(seen(V1, weight=90), seen(V2, weight=10))
    status = describe_invalid(before, "spec: no", 7, NOW + 60)
    assert (status.message, status.observed_generation, status.weights) == ("spec: no", 7, before.weights)
    assert (condition(status, "Valid").status, condition(status, "Valid").message) == ("False", "spec: no")
    assert condition(status) == condition(before)
    assert describe_invalid(status, "spec: no", 7, NOW + 900) == status
    # an object that the CRD's schema takes
    assert msgspec.convert(msgspec.to_builtins(status), RolloutStatus) == status


def test_two_revisions_of_one_variant_are_told_apart_by_their_part_in_the_run() -> None:
    of = rollout(bundle={"image": "athlete:v2"})
    (specified,) = [Revision.of(of, variant) for variant in of.spec.all_variants]
    old = Observed(variant="main", name="time-estimator-main-old", weight=90, verification=verification("v1"))
    new = Observed(variant="main", name=specified.name, weight=10, verification=verification("v2"))
    run = RunStatus(
        number=1, state="Analyzing", stable=old.name, canary=new.name, plan="", started="", since="", weight=10
    )
    error = {of.name: WriteError("denied", rejected=True)}  # so that the route stays as it is
    plan = plan_weights(of, [specified], [old, new], NOW)

    def weights(before: RolloutStatus, *observed: Observed) -> str:
        return describe(of, [specified], observed, plan, error, None, "http://u", before, NOW).weights

    assert weights(RolloutStatus(run=run), old, new) == "stable=90 canary=10"
    assert weights(RolloutStatus(run=run), old) == "main=90"
    assert weights(RolloutStatus(), old, new) == "main=100"
