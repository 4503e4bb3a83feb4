"""What pods and routes say, in words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rollout.tests.rollouts import rollout

from tandem_rollout.api.cause import Cause
from tandem_rollout.controller import objects
from tandem_rollout.controller.resources import HTTPRoute, InferenceService, Metadata, Pod
from tandem_rollout.render.revision import Revision

from .world import READY, Made, container, crashed, pod, without_image

SERVICE: dict[str, Any] = {"metadata": {"name": "est-v1-1", "namespace": "models", "uid": "u", "labels": {}}}


def pods(statuses: Made = READY, count: int = 1) -> list[dict[str, Any]]:
    return [
        pod(SERVICE, half, number, status)
        for half in ("transformer", "predictor")
        for number, status in enumerate(statuses(half, count))
    ]


def problem(*manifests: dict[str, Any], **service: Any) -> tuple[str, str, bool]:
    """Reason and message, and whether it is fatal."""
    cause, fatal = objects.problem(InferenceService.of({**SERVICE, **service}), map(Pod.of, manifests))
    return (cause.reason, cause.message, fatal) if cause is not None else ("", "", fatal)


def test_ready_pods_are_counted_by_half() -> None:
    pod_list = [*pods(count=2), pod(SERVICE, "predictor", 7, container(ready=False))]
    assert [objects.ready_pods(map(Pod.of, pod_list), half) for half in ("transformer", "predictor")] == [2, 2]
    pod_list[0]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert objects.ready_pods(map(Pod.of, pod_list), "transformer") == 1


def test_the_half_of_a_pod_without_component_is_in_the_name_of_its_app() -> None:
    (first, _) = pods()
    del first["metadata"]["labels"]["component"]
    assert objects.ready_pods([Pod.of(first)], "transformer") == 1


def test_healthy_pods_have_no_problem() -> None:
    assert problem(*pods()) == ("", "", False)
    assert problem(*pods(), status=None) == ("", "", False)


@pytest.mark.parametrize(
    ("message", "quote"),
    [
        (
            '{"level": "error", "message": "no tandem.json in /mnt/models"}',
            "transformer: no tandem.json in /mnt/models",
        ),
        ('{"level": "ERROR", "message": "bad"}\n{"level": "info", "message": "bye"}', "transformer: bad"),
        ('{"level": "info", "message": "bye"}', 'transformer: exited with code 1: {"level": "info", "message": "bye"}'),
        ("Traceback …\nValueError: no", "transformer: exited with code 1: ValueError: no"),
        ("[1, 2]", "transformer: exited with code 1: [1, 2]"),
        ("", "transformer: exited with code 1: Error"),
    ],
)
def test_a_container_that_ended_is_quoted(message: str, quote: str) -> None:
    assert problem(*pods(crashed(message))) == ("ContainerFailed", quote, True)


def test_long_words_are_cut() -> None:
    _, words, _ = problem(*pods(crashed("x" * 5000)))
    assert len(words) == 400
    assert words.endswith("…")


ACCIDENT = ("ContainerFailed", "transformer: exited with code 1: no", False)


def test_one_end_may_be_an_accident() -> None:
    assert problem(*pods(crashed("no", restarts=0, waiting=""))) == ACCIDENT
    assert problem(*pods(crashed("no", restarts=1, waiting=""))) == ACCIDENT
    assert problem(*pods(crashed("no", restarts=2, waiting="")))[2]
    assert problem(*pods(crashed("no", restarts=1)))[2]


def test_what_will_not_work_is_said_before_what_takes_time() -> None:
    pending = pod(SERVICE, "predictor", 0, container(ready=False))
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    pending["status"]["conditions"].append(unschedulable)
    assert problem(pending) == ("Unschedulable", "predictor: cannot be scheduled: 0/3 nodes are available", False)
    reason, words, fatal = problem(pending, *pods(without_image("athlete:v9")))
    assert reason == "ImagePullBackOff"
    assert words == 'transformer, container bundle: ImagePullBackOff: Back-off pulling image "athlete:v9"'
    assert fatal


def test_a_pod_that_is_on_its_way_out_says_nothing() -> None:
    pod_list = pods(crashed("no"))
    for manifest in pod_list:
        manifest["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert problem(*pod_list) == ("", "", False)


def test_without_pods_kserve_is_quoted() -> None:
    conditions = [{"type": "Ready", "status": "False", "message": "quota\n exceeded"}]
    assert problem(status={"conditions": conditions}) == ("InferenceServiceNotReady", "quota exceeded", False)


def test_weights_are_those_of_the_split() -> None:
    backends = [
        {"name": "a-transformer", "weight": 90},
        {"name": "b-transformer", "weight": 0},
        {"name": "c-transformer"},
    ]
    rules = [{"name": "http-a", "backendRefs": backends[:1]}, {"name": "split", "backendRefs": backends}]
    assert objects.route_weights(HTTPRoute.of({"metadata": {}, "spec": {"rules": rules}})) == {"a": 90, "c": 1}
    assert objects.route_weights(HTTPRoute.of({"metadata": {}, "spec": {"rules": rules[:1]}})) == {}
    assert objects.route_weights(None) == {}


def test_what_leaves_has_no_weight() -> None:
    backends = [{"name": "b-transformer", "weight": 90_000}, {"name": "a-transformer", "weight": 1}]
    metadata = {"annotations": {"tandem-serving.io/leaving": '{"a": 12.5, "gone": 3.0}'}}
    route = {"metadata": metadata, "spec": {"rules": [{"name": "split", "backendRefs": backends}]}}
    assert objects.route_weights(HTTPRoute.of(route)) == {"b": 90}
    assert objects.leaving(HTTPRoute.of(route)) == {"a": 12.5}
    route["metadata"] = {"annotations": {"tandem-serving.io/leaving": "edited"}}
    assert objects.leaving(HTTPRoute.of(route)) == {}


def test_what_the_gateway_says_against_a_route() -> None:
    def parent(kind: str, status: str) -> dict[str, Any]:
        condition = {"type": kind, "status": status, "reason": "NoMatchingParent", "message": "no\nsuch gateway"}
        return {"status": {"parents": [{"conditions": [condition]}]}}

    cause = Cause("RouteNotAccepted", "the gateway does not accept the route: NoMatchingParent: no such gateway")
    assert objects.route_problem(HTTPRoute.of(parent("Accepted", "False"))) == cause
    assert objects.route_problem(HTTPRoute.of(parent("ResolvedRefs", "False"))) == cause
    assert objects.route_problem(HTTPRoute.of(parent("Accepted", "True"))) is None
    assert objects.route_problem(HTTPRoute.of(parent("Programmed", "False"))) is None
    assert objects.route_problem(None) is None


def test_what_a_revision_waits_for() -> None:
    of = rollout()
    revision = Revision.of(of, of.spec.all_variants[0])
    assert objects.waits_for(revision, 0, 0, False).reason == "InferenceServiceMissing"
    assert objects.waits_for(revision, 0, 0, True).message == "waiting for a ready transformer and a ready predictor"
    assert objects.waits_for(revision, 1, 0, True) == Cause("PodsNotReady", "waiting for a ready predictor")
    message = f"waiting for the verification of the golden rows by {revision.name}"
    assert objects.waits_for(revision, 1, 1, True) == Cause("AwaitingVerification", message)


def test_names_for_which_kserve_makes_no_pods() -> None:
    def waits(namespace: str) -> str:
        of = msgspec.structs.replace(rollout(), namespace=namespace)
        return objects.waits_for(Revision.of(of, of.spec.all_variants[0]), 0, 0, True).message

    assert "KServe" not in waits("n" * 24)
    assert "has 64 characters, and KServe creates no pods above 63" in waits("n" * 25)


def test_fields_that_are_null_are_as_good_as_none() -> None:
    assert Pod.of({"metadata": {"name": "p", "labels": None}, "status": None}) == Pod(Metadata(name="p"))
    assert HTTPRoute.of({"metadata": {"annotations": None}, "spec": {"rules": None}, "status": None}) == HTTPRoute()
