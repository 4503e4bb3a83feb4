"""Rollouts from the first apply to the end, as their users see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from tandem_rollout.controller import convergence
from tandem_rollout.controller.interface import VerificationFailure
from tandem_rollout.render import render_revision
from tandem_rollout.render.platform import Platform

from .apiserver import Answer
from .world import (
    NONE,
    READY,
    STARTING,
    Controller,
    World,
    container,
    controller,
    crashed,
    verification,
    without_image,
)


@pytest.fixture
async def ctl(here: World) -> AsyncIterator[Controller]:
    async with controller(here) as instance:
        yield instance


def variants(*weights: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"v{n}", "bundle": {"image": f"athlete:v{n}"}, "weight": weight, **more}
        for n, weight in enumerate(weights, start=1)
    ]


def given(here: World, **spec: Any) -> None:
    """Make a rollout, or edit it."""
    there = here.server.get("inferencerollouts", "time-estimator")
    here.server.put("inferencerollouts", {**(there or manifest()), "spec": manifest(**spec)["spec"]})


async def test_from_the_first_apply_to_serving(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    status = here.status()
    assert (status.ready, status.weights, status.message) == ("2/2", "v1=90 v2=10", "")
    assert status.url == "http://time-estimator.models.example.com"
    assert [(variant.name, variant.phase, variant.version) for variant in status.variants] == [
        ("v1", "Ready", "v1"),
        ("v2", "Ready", "v2"),
    ]
    assert here.condition("Ready") == ("True", "all variants are ready")
    assert "weights are v1=90 v2=10" in here.events()


async def test_a_change_of_weights_moves_weights_only(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    services, verifications = here.server.all("inferenceservices"), list(here.asked)
    given(here, variants=variants(50, 50))
    await ctl.run()
    assert here.weights() == {"athlete:v1": 50, "athlete:v2": 50}
    assert (here.server.all("inferenceservices"), here.asked) == (services, verifications)


async def test_a_new_bundle_replaces_the_old_one_when_it_is_ready_and_proven(here: World, ctl: Controller) -> None:
    given(here, bundle={"image": "athlete:v1"}, scaleDownDelay="2m")
    await ctl.run()
    here.pods["athlete:v2"] = STARTING
    here.answers["athlete:v2"] = VerificationFailure(
        "VerificationUnavailable", "the predictor does not answer", final=False
    )
    given(here, bundle={"image": "athlete:v2"}, scaleDownDelay="2m")
    await ctl.run(60)
    new, old = here.status().variants
    assert here.weights() == {"athlete:v1": 100}
    assert (new.phase, new.message) == ("Pending", "waiting for a ready transformer and a ready predictor")
    assert (old.phase, old.message) == ("Ready", "serves until its successor is ready")

    here.pods["athlete:v2"] = READY
    await ctl.run(60)
    assert here.weights() == {"athlete:v1": 100}
    assert here.status().message == "main: the predictor does not answer"

    del here.answers["athlete:v2"]
    await ctl.run(10)
    assert here.weights() == {"athlete:v2": 100}
    assert [variant.phase for variant in here.status().variants] == ["Ready", "Retired"]
    await ctl.run(110)
    assert here.server.get("inferenceservices", old.inference_service) is not None
    await ctl.run(20)
    assert [service["metadata"]["name"] for service in here.server.all("inferenceservices")] == [new.inference_service]
    assert [variant.phase for variant in here.status().variants] == ["Ready"]
    owned = {
        scaled_object["metadata"]["labels"]["tandem-serving.io/revision"]
        for scaled_object in here.server.all("scaledobjects")
    }
    assert owned == {new.inference_service.rpartition("-")[2]}


async def test_the_new_version_has_as_many_pods_as_the_old_one_before_it_takes_over(
    here: World, ctl: Controller
) -> None:
    here.pods["athlete:v1"] = lambda half, specified: [container()] * 3
    given(here, bundle={"image": "athlete:v1"})
    await ctl.run()
    here.pods["athlete:v2"] = lambda half, specified: [container()] * (specified - 1) + [container(ready=False)]
    given(here, bundle={"image": "athlete:v2"})
    await ctl.run()
    new = here.status().variants[0]
    assert here.server.get("scaledobjects", f"{new.inference_service}-transformer")["spec"]["minReplicaCount"] == 3  # type: ignore[index]
    assert (new.phase, new.message) == (
        "Pending",
        "waiting for as many pods as the replaced version has (3 and 3)",
    )
    here.pods["athlete:v2"] = READY
    await ctl.run(6)
    assert here.weights() == {"athlete:v2": 100}
    assert here.server.get("scaledobjects", f"{new.inference_service}-transformer")["spec"]["minReplicaCount"] == 1  # type: ignore[index]


async def test_an_edit_taken_back_goes_on_with_the_old_pods(here: World, ctl: Controller) -> None:
    given(here, bundle={"image": "athlete:v1"})
    await ctl.run()
    (first,) = here.server.all("inferenceservices")
    given(here, bundle={"image": "athlete:v2"})
    await ctl.run(30)
    before = len(here.server.history)
    given(here, bundle={"image": "athlete:v1"})
    await ctl.run(6)
    assert here.weights() == {"athlete:v1": 100}
    written = [resource["status"] for _, key, resource in here.server.history[before:] if key[0] == "inferencerollouts"]
    pending = [variant for status in written for variant in status["variants"] if variant["phase"] == "Pending"]
    assert {variant["message"] for variant in pending} == {"waiting for the gateway"}
    assert [(variant.phase, variant.version) for variant in here.status().variants] == [
        ("Ready", "v1"),
        ("Retired", "v2"),
    ]
    await ctl.run(600)
    (last,) = here.server.all("inferenceservices")
    assert last["metadata"]["uid"] == first["metadata"]["uid"]


COLOURS = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("blue", "green")]


async def test_blue_green_switches_and_back(here: World, ctl: Controller) -> None:
    for active, inactive in (("blue", "green"), ("green", "blue"), ("blue", "green")):
        given(here, variants=COLOURS, strategy={"blueGreen": {"active": active}})
        await ctl.run(6)
        assert here.weights() == {f"athlete:{active}": 100}
        assert here.weights("time-estimator-preview") == {f"athlete:{inactive}": 1}
        assert here.status().ready == "2/2"
    assert len(here.server.all("inferenceservices")) == 2
    preview = here.server.get("httproutes", "time-estimator-preview")
    assert preview is not None
    assert preview["spec"]["hostnames"] == ["preview-time-estimator.models.example.com"]
    given(here, variants=variants(90, 10))
    await ctl.run()
    assert here.server.get("httproutes", "time-estimator-preview") is None


async def test_green_gets_nothing_before_it_is_ready(here: World, ctl: Controller) -> None:
    given(here, variants=COLOURS, strategy={"blueGreen": {"active": "blue"}})
    await ctl.run()
    here.pods["athlete:green2"] = STARTING
    edited = [COLOURS[0], {"name": "green", "bundle": {"image": "athlete:green2"}}]
    given(here, variants=edited, strategy={"blueGreen": {"active": "green"}})
    await ctl.run()
    assert here.weights() == {"athlete:blue": 100}
    # those who look at green go on seeing it
    assert here.weights("time-estimator-preview") == {"athlete:green": 1}
    assert here.server.get("httproutes", "time-estimator.green") is not None
    here.pods.clear()
    await ctl.run(6)
    assert here.weights() == {"athlete:green2": 100}


async def test_the_sticky_policy_comes_and_goes_with_its_strategy(here: World, ctl: Controller) -> None:
    given(here, variants=variants(90, 10), strategy={"abTest": {}})
    await ctl.run()
    assert len(here.server.all("backendtrafficpolicies")) == 1
    given(here, variants=variants(90, 10))
    await ctl.run()
    assert here.server.all("backendtrafficpolicies") == []


async def test_network_policies_go_when_they_are_switched_off(here: World, ctl: Controller) -> None:
    given(here, variants=variants(90, 10))
    await ctl.run()
    assert len(here.server.all("networkpolicies")) == 4
    given(here, variants=variants(90, 10), network={"policies": False})
    await ctl.run()
    assert here.server.all("networkpolicies") == []


async def test_somebody_elses_object_of_the_same_name_is_left_alone(here: World, ctl: Controller) -> None:
    theirs = {"metadata": {"name": "time-estimator", "namespace": "models"}, "spec": {"mine": True}}
    here.server.put("securitypolicies", theirs)
    given(here)
    await ctl.run(1200)
    policy = here.server.get("securitypolicies", "time-estimator")
    assert policy is not None
    assert policy["spec"] == {"mine": True}


async def test_pods_that_are_gone_lose_their_weight_and_get_it_back(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    here.pods["athlete:v1"] = NONE
    await ctl.run()
    assert here.weights() == {"athlete:v2": 10}
    assert here.status().message.endswith("waiting for a ready transformer and a ready predictor")
    here.pods.clear()
    await ctl.run(6)
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    assert here.status().message == ""


async def test_where_all_pods_are_gone_the_route_stays(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    here.pods |= {"athlete:v1": NONE, "athlete:v2": NONE}
    await ctl.run()
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    assert here.status().ready == "0/2"


# what is wrong

LOGGED = "\n".join(
    [
        '{"level": "info", "message": "reading /mnt/models"}',
        '{"level": "error", "message": "model.onnx: its digest is 12ab, tandem.json says 34cd"}',
        '{"level": "info", "message": "the end"}',
    ]
)


def said(here: World, why: str, *, phase: str = "Rejected") -> None:
    """Status, printer columns and an event say in one line why v2 gets no weight; v1 keeps its own."""
    assert here.weights() == {"athlete:v1": 90}
    status = here.status()
    assert status.message == f"v2: {why}"
    assert (status.ready, status.weights) == ("1/2", "v1=90")
    assert [(variant.phase, variant.weight, variant.message) for variant in status.variants] == [
        ("Ready", 90, ""),
        (phase, 0, why),
    ]
    assert here.condition("Ready") == ("False", f"v2: {why}")
    assert f"{status.variants[1].inference_service}: {why}" in here.events()
    assert "\n" not in status.message


async def test_a_corrupt_bundle(here: World, ctl: Controller) -> None:
    here.pods["athlete:v2"] = crashed(LOGGED)
    given(here)
    await ctl.run()
    said(here, "transformer: model.onnx: its digest is 12ab, tandem.json says 34cd")


async def test_a_missing_image(here: World, ctl: Controller) -> None:
    here.pods["athlete:v2"] = without_image("athlete:v2")
    given(here)
    await ctl.run()
    said(here, 'transformer, container bundle: ImagePullBackOff: Back-off pulling image "athlete:v2"')


async def test_a_mixed_pair(here: World, ctl: Controller) -> None:
    here.answers["athlete:v2"] = VerificationFailure(
        "PredictorMismatch", "the predictor has no model v2-12ab34cd", final=True
    )
    given(here)
    await ctl.run()
    said(here, "the predictor has no model v2-12ab34cd")


async def test_a_contract_that_breaks_clients(here: World, ctl: Controller) -> None:
    here.answers["athlete:v2"] = verification("v2", distance_km={"type": "float64"})
    given(here)
    await ctl.run()
    v1 = here.status().variants[0].inference_service
    said(here, f"its contract breaks clients of {v1}: distance_km: added, required")


async def test_a_contract_is_compared_by_a_new_controller_too(here: World, ctl: Controller) -> None:
    given(here, bundle={"image": "athlete:v1"})
    await ctl.run()
    ctl.start_again()
    here.answers["athlete:v2"] = verification("v2", distance_km={"type": "float64"})
    here.answers["athlete:v1"] = VerificationFailure(
        "VerificationUnavailable", "cannot request the verification", final=False
    )
    given(here, bundle={"image": "athlete:v2"})
    await ctl.run(30)
    new, old = here.status().variants
    assert here.weights() == {"athlete:v1": 100}
    assert new.message == f"waiting for the contract of {old.inference_service}, which serves"
    del here.answers["athlete:v1"]
    await ctl.run(30)
    assert here.weights() == {"athlete:v1": 100}
    assert here.status().variants[0].message.startswith("its contract breaks clients of")


async def test_an_inference_service_that_the_api_server_refuses(here: World, ctl: Controller) -> None:
    words = 'admission webhook "validate.kserve" denied the request: name is\ntoo long'
    name = "inferenceservices", "time-estimator-v2-"
    here.server.fault = lambda call: (
        Answer(422, words) if call.writes and call.resource == name[0] and call.name.startswith(name[1]) else None
    )
    given(here)
    await ctl.run()
    service = here.status().variants[1].inference_service
    why = 'admission webhook "validate.kserve" denied the request: name is too long'
    said(here, f"cannot apply InferenceService {service}: {why}")
    here.server.fault = lambda call: None
    await ctl.run(31)
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}


async def test_a_webhook_that_is_down_for_a_moment(here: World, ctl: Controller) -> None:
    down = Answer(500, 'Internal error occurred: failed calling webhook "inferenceservice.kserve": no endpoints')
    here.server.fault = lambda call: down if call.resource == "inferenceservices" and call.writes else None
    given(here)
    await ctl.run(5)
    assert [variant.phase for variant in here.status().variants] == ["Pending", "Pending"]
    assert "failed calling webhook" in here.status().message
    here.server.fault = lambda call: None
    await ctl.run(30)
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}


async def test_a_kind_that_is_not_installed_does_not_keep_clients_waiting(here: World, ctl: Controller) -> None:
    here.server.unknown = {"podmonitors", "backendtrafficpolicies", "securitypolicies"}
    given(here)
    await ctl.run()
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    words = "cannot apply PodMonitor time-estimator: the cluster does not have this kind of object"
    assert here.status().message == words
    given(here, variants=variants(90, 10), monitoring={"podMonitors": False})
    await ctl.run()
    assert here.status().message == ""


async def test_a_spec_that_makes_no_sense_leaves_everything_as_it_is(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    before = here.end_state()
    given(here, variants=variants(0, 0))
    await ctl.run(1300)
    why = "spec.variants: at least one variant needs a weight above 0"
    assert here.condition("Valid") == ("False", why)
    assert (here.status().message, here.status().weights) == (why, "v1=90 v2=10")
    assert here.events().count(why) == 1
    assert before.keys() == here.end_state().keys()
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    given(here)
    await ctl.run()
    assert here.end_state() == before
    assert here.condition("Valid") == ("True", "the spec is valid")


async def test_a_container_that_ended_once_is_no_reason_to_refuse(here: World, ctl: Controller) -> None:
    here.pods["athlete:v2"] = crashed("no such host: store", restarts=1, waiting="")
    given(here)
    await ctl.run()
    said(here, "transformer: exited with code 1: no such host: store", phase="Pending")
    here.pods["athlete:v2"] = crashed("no such host: store")
    await ctl.run()
    said(here, "transformer: exited with code 1: no such host: store")
    here.pods["athlete:v2"] = lambda half, specified: [container(restarts=5)] * specified
    await ctl.run(6)
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}


async def test_a_pair_that_was_refuted_is_asked_again_when_its_pods_are_others(here: World, ctl: Controller) -> None:
    here.answers["athlete:v2"] = VerificationFailure(
        "PredictorMismatch", "the predictor has no model v2-12ab34cd", final=True
    )
    given(here)
    await ctl.run(300)
    name = here.status().variants[1].inference_service
    assert here.asked.count(name) == 1
    await ctl.run(350)
    assert here.asked.count(name) == 2
    del here.answers["athlete:v2"]
    here.pods["athlete:v2"] = lambda half, specified: [container(restarts=int(half == "predictor"))] * specified
    await ctl.run(6)
    assert here.asked.count(name) == 3
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}


async def test_a_refuted_version_loses_its_weight(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    ctl.start_again()
    here.answers["athlete:v2"] = VerificationFailure("VerificationFailed", "row 3 of seconds differs", final=True)
    await ctl.run()
    said(here, "row 3 of seconds differs")


# others


async def test_images_stay_what_they_were_under_a_newer_controller(here: World, ctl: Controller) -> None:
    given(here, bundle={"image": "athlete:v1"})
    await ctl.run()
    before = here.server.all("inferenceservices")
    async with controller(here, Platform(transformer_image="tandem-transformer:of-tomorrow")) as newer:
        await newer.run()
        assert here.server.all("inferenceservices") == before
        given(here, bundle={"image": "athlete:v2"})
        await newer.run()
    images = {
        service["spec"]["transformer"]["containers"][0]["image"] for service in here.server.all("inferenceservices")
    }
    assert images == {Platform().transformer_image, "tandem-transformer:of-tomorrow"}


async def test_pods_stay_what_they_were_under_a_controller_that_renders_otherwise(
    here: World, ctl: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(here, bundle={"image": "athlete:v1"})
    await ctl.run()
    before = here.server.all("inferenceservices")

    def newer_revision(*args: Any, **options: Any) -> list[dict[str, Any]]:
        objects = render_revision(*args, **options)
        for resource in objects:
            if resource["kind"] == "InferenceService":
                resource["spec"]["transformer"]["containers"][0]["args"].append("--flag_of_the_future")
        return objects

    monkeypatch.setattr(convergence, "render_revision", newer_revision)
    async with controller(here) as newer:
        await newer.run(601)
        assert here.server.all("inferenceservices") == before
        given(here, bundle={"image": "athlete:v2"})
        await newer.run()
    flags = [
        service["spec"]["transformer"]["containers"][0]["args"][-1] for service in here.server.all("inferenceservices")
    ]
    assert sorted(flag == "--flag_of_the_future" for flag in flags) == [False, True]


async def test_what_somebody_does_to_the_route_is_undone_at_once(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run(5)
    before = here.end_state()
    here.server.remove("httproutes", "time-estimator")
    await ctl.run()
    assert here.end_state() == before
    await ctl.run(5)

    def take_all(route: dict[str, Any]) -> None:
        route["spec"]["hostnames"] = ["elsewhere.example"]
        split = next(rule for rule in route["spec"]["rules"] if rule["name"] == "split")
        split["backendRefs"][1]["weight"] = 1000

    here.server.edit("httproutes", "time-estimator", take_all)
    await ctl.run()
    assert here.end_state() == before


async def test_what_somebody_does_to_an_inference_service_is_undone_at_once(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run(5)
    before = here.end_state()
    name = here.status().variants[0].inference_service
    here.server.edit("inferenceservices", name, lambda live: live["spec"]["predictor"].update(minReplicas=7))
    await ctl.run()
    assert here.end_state() == before
    await ctl.run(5)
    here.server.remove("inferenceservices", name)
    await ctl.run(6)
    assert here.end_state() == before


async def test_what_somebody_does_to_anything_else_is_undone_in_time(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    before = here.end_state()
    name = here.status().variants[0].inference_service
    here.server.remove("podmonitors", "time-estimator")
    here.server.remove("scaledobjects", f"{name}-predictor")
    here.server.edit("scaledobjects", f"{name}-transformer", lambda live: live["spec"].update(maxReplicaCount=1))
    await ctl.run(601)
    assert here.end_state() == before


async def test_two_who_write_against_each_other_do_it_slowly(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run(5)
    here.server.calls.clear()
    for n in range(20):
        here.server.edit("httproutes", "time-estimator", lambda live, n=n: live["spec"].update(hostnames=[f"h{n}"]))  # type: ignore[misc]
        await ctl.one_pass("models", "time-estimator")
    assert len([call for call in here.server.calls if call.resource == "httproutes" and call.writes]) == 1
    await ctl.run(2)
    route = here.server.get("httproutes", "time-estimator")
    assert route is not None
    assert route["spec"]["hostnames"] == ["time-estimator.models.example.com"]


async def test_a_rollout_that_is_deleted_leaves_nothing(here: World, ctl: Controller) -> None:
    given(here, variants=variants(90, 10), strategy={"abTest": {}})
    await ctl.run()
    here.server.remove("inferencerollouts", "time-estimator")
    await ctl.one_pass("models", "time-estimator")
    kinds = {key[0] for _, key, _ in here.server.history} - {"events"}
    assert [resource for kind in kinds for resource in here.server.all(kind)] == []
    given(here)
    await ctl.run()
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}


async def test_an_idle_rollout_costs_no_call(here: World, ctl: Controller) -> None:
    given(here, variants=variants(90, 10), strategy={"abTest": {}}, network={"policies": False})
    await ctl.run(5)
    here.server.calls.clear()
    for _ in range(5):
        await ctl.one_pass("models", "time-estimator")
    assert here.server.calls == []
    # nor is there anything to do before everything is applied again, of which the first time is not the same for all
    assert ctl.due["models", "time-estimator"] - here.now >= 50
    here.pods["athlete:v2"] = without_image("athlete:v2")
    await ctl.run(5)
    here.server.calls.clear()
    for _ in range(5):
        await ctl.one_pass("models", "time-estimator")
    assert here.server.calls == []


async def test_nothing_is_said_twice_while_the_cache_is_behind(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    here.pods["athlete:v2"] = without_image("athlete:v2")
    here.turn()
    await ctl.caught_up()
    behind = ctl.cluster.rollouts.get("models", "time-estimator")
    assert behind is not None
    here.server.calls.clear()
    for _ in range(3):
        await ctl.reconciler.reconcile(behind)
    calls = [call for call in here.server.calls if call.resource.endswith(("/status", "events"))]
    assert len([call for call in calls if call.verb == "patch"]) == 1
    assert len(calls) == 3, "weights, and why"


async def test_a_rollout_made_again_under_its_name(here: World, ctl: Controller) -> None:
    given(here, variants=variants(90, 10), strategy={"abTest": {}})
    await ctl.run()
    here.server.remove("inferencerollouts", "time-estimator")
    given(here, variants=variants(90, 10), strategy={"abTest": {}})
    await ctl.run()
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    (resource,) = here.server.all("inferencerollouts")
    owners = {policy["metadata"]["ownerReferences"][0]["uid"] for policy in here.server.all("backendtrafficpolicies")}
    assert owners == {resource["metadata"]["uid"]}


async def test_rollouts_do_not_disturb_each_other(here: World, ctl: Controller) -> None:
    given(here)
    neighbour = manifest(bundle={"image": "swimmer:v1"})
    neighbour["metadata"] |= {"name": "swim", "namespace": "water"}
    here.server.put("inferencerollouts", neighbour)
    hold = asyncio.Event()
    here.server.fault = lambda call: hold if call.name.startswith("time-estimator") else None
    task = asyncio.create_task(ctl.one_pass("models", "time-estimator"))
    for _ in range(4):
        await ctl.one_pass("water", "swim")
        here.turn()
    assert here.weights("swim", "water") == {"swimmer:v1": 100}
    assert not task.done()
    hold.set()
    await task
    here.server.fault = lambda call: None
    await ctl.run()
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    given(here, bundle={"image": "athlete:v1"})
    here.server.calls.clear()
    await ctl.run()
    assert not [call for call in here.server.calls if call.name.startswith("swim")]


def backends(here: World) -> dict[str, int]:
    """What stands in the route, by the bundle's image."""
    route = here.server.get("httproutes", "time-estimator")
    assert route is not None
    (split,) = (rule for rule in route["spec"]["rules"] if rule["name"] == "split")
    return {
        here.image(backend["name"].removesuffix("-transformer")): backend["weight"] for backend in split["backendRefs"]
    }


async def test_what_gets_its_first_weight_comes_into_the_route_in_two_steps(here: World, ctl: Controller) -> None:
    given(here, bundle={"image": "athlete:v1"})
    await ctl.run()
    given(here, bundle={"image": "athlete:v2"})
    await ctl.run(4)
    assert backends(here) == {"athlete:v1": 99_999, "athlete:v2": 1}
    assert here.status().weights == "main=100"
    assert [variant.phase for variant in here.status().variants] == ["Pending", "Ready"]
    ctl.start_again()
    await ctl.run(0.5)
    assert backends(here) == {"athlete:v1": 99_999, "athlete:v2": 1}
    await ctl.run(1)
    assert backends(here) == {"athlete:v2": 99_999, "athlete:v1": 1}


async def test_what_no_other_can_answer_for_comes_into_the_route_at_once(here: World, ctl: Controller) -> None:
    given(here, bundle={"image": "athlete:v1"}, scaleDownDelay="0s")
    await ctl.run()
    here.pods["athlete:v1"] = NONE
    given(here, bundle={"image": "athlete:v2"}, scaleDownDelay="0s")
    await ctl.run()
    assert backends(here) == {"athlete:v2": 100}


async def test_what_is_replaced_leaves_the_route_in_two_steps_and_goes_after_that(here: World, ctl: Controller) -> None:
    given(here, bundle={"image": "athlete:v1"}, scaleDownDelay="0s")
    await ctl.run()
    given(here, bundle={"image": "athlete:v2"}, scaleDownDelay="0s")
    await ctl.run(9)
    assert backends(here) == {"athlete:v2": 99_999, "athlete:v1": 1}
    assert here.status().weights == "main=100"
    ctl.start_again()
    await ctl.run(0.5)
    assert backends(here) == {"athlete:v2": 99_999, "athlete:v1": 1}
    await ctl.run(5)
    assert backends(here) == {"athlete:v2": 100}
    assert len(here.server.all("inferenceservices")) == 1


async def test_what_has_no_pods_leaves_the_route_at_once(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    here.pods["athlete:v2"] = NONE
    await ctl.run()
    assert backends(here) == {"athlete:v1": 90}


async def test_requests_of_a_variant_have_a_route_as_long_as_there_is_the_variant(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    own = {"time-estimator.v1", "time-estimator.v2"}
    assert own <= {route["metadata"]["name"] for route in here.server.all("httproutes")}
    given(here, variants=variants(100))
    await ctl.run(10)
    assert [route["metadata"]["name"] for route in here.server.all("httproutes")] == [
        "time-estimator",
        "time-estimator.v1",
    ]


async def test_no_route_is_made_where_it_cannot_be_closed(here: World, ctl: Controller) -> None:
    here.server.fault = lambda call: Answer(422) if call.resource == "securitypolicies" and call.writes else None
    given(here, variants=variants(90, 10), route={"auth": {"apiKeys": {"secretName": "clients"}}})
    await ctl.run()
    assert here.server.all("httproutes") == []
    assert "cannot apply SecurityPolicy time-estimator" in here.status().message
    here.server.fault = lambda call: None
    await ctl.run(60)
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}


async def test_a_container_of_a_template_may_lack_an_image(here: World, ctl: Controller) -> None:
    template = {"spec": {"transformer": {"containers": [{"name": "sidecar", "args": ["x"]}]}}}
    given(here, variants=variants(90, 10), template=template)
    await ctl.run()
    given(here, variants=variants(80, 20), template=template)
    await ctl.run()
    assert here.weights() == {"athlete:v1": 80, "athlete:v2": 20}


async def test_a_spec_that_is_too_large_is_not_looked_at(here: World, ctl: Controller) -> None:
    given(here, template={"spec": {"transformer": {"x": [{} for _ in range(12_000)]}}})
    await ctl.run()
    assert here.condition("Valid") == (
        "False",
        "spec: must not take more than 1 MiB in memory; each map takes 100 bytes",
    )
    assert here.server.all("inferenceservices") == []
