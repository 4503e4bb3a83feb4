"""Versions that are compared while weights stay as written: A/B tests and shadows with analysis."""

from __future__ import annotations

from typing import Any

import pytest
from rollout.tests.rollouts import manifest

from .world import NONE, STARTING, Controller, World, controller, crashed

Spec = dict[str, Any]

UNITS = {"type": "assignment", "requests": 'new_users_total{inferenceservice="$inferenceservice"}'}
ANALYSIS: Spec = {"metrics": [{"type": "errors"}, UNITS], "interval": "2m", "warmup": "0s"}
HALF = 600.0
"""Half of the horizon."""


@pytest.fixture
def here(here: World) -> World:
    here.rate = 2000.0
    return here


def variants(*weights: int, images: str = "v1 v2") -> list[Spec]:
    return [
        {"name": name, "bundle": {"image": f"athlete:{image}"}, "weight": weight}
        for name, image, weight in zip("ab", images.split(), weights, strict=True)
    ]


def ab_test(*weights: int, images: str = "v1 v2", horizon: str = "20m", **spec: Any) -> Spec:
    strategy = {"abTest": {"horizon": horizon}}
    return {
        "variants": variants(*weights or (50, 50), images=images),
        "strategy": strategy,
        "analysis": ANALYSIS,
    } | spec


def shadow(percent: int = 100, images: str = "v1 v2") -> Spec:
    strategy = {"shadow": {"variant": "b", "percent": percent}}
    analysis = {"metrics": [{"type": "errors"}, {"type": "errors", "where": "pods"}], "interval": "2m", "warmup": "0s"}
    return {"variants": variants(100, 0, images=images), "strategy": strategy, "analysis": analysis}


def put(here: World, **spec: Any) -> None:
    """Make the rollout, or give it another spec."""
    resource = manifest(**spec)
    if here.server.get("inferencerollouts", "time-estimator") is None:
        here.server.put("inferencerollouts", resource)
    else:
        here.server.edit("inferencerollouts", "time-estimator", lambda live: live.update(spec=resource["spec"]))


def states(here: World) -> list[str]:
    """What became of the runs, in order, as it was written down."""
    lines: list[str] = []
    for _, (plural, _, _), resource in here.server.history:
        run = (resource.get("status") or {}).get("run") if plural == "inferencerollouts" else None
        if run and (line := f"{run['number']} {run['state']}") not in lines[-1:]:
            lines.append(line)
    return lines


def verdicts(here: World) -> dict[str, str]:
    return {metric.name: metric.verdict for metric in here.status().metrics}


def past(here: World) -> list[tuple[int, str, str]]:
    return [(entry.number, entry.outcome, entry.reason) for entry in here.status().history]


def mirrored(here: World) -> list[tuple[str, int]]:
    """Who gets copies of requests, by image, and of which percentage."""
    route = here.server.get("httproutes", "time-estimator")
    assert route is not None
    filters = [
        rule_filter["requestMirror"] for rule in route["spec"]["rules"] for rule_filter in rule.get("filters", ())
    ]
    services = [(mirror["backendRef"]["name"].removesuffix("-transformer"), mirror["percent"]) for mirror in filters]
    return [(here.image(service), percent) for service, percent in services]


# A/B tests


async def test_an_ab_test_watches_and_reports(here: World) -> None:
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        status = here.status()
        assert status.progress == "Observing"
        assert status.run is not None
        assert status.run.verdict == "pass"
        assert verdicts(here) == {"errors": "pass", "assignment": "pass"}
        errors, units = (metric.summary for metric in status.metrics)
        assert errors.startswith("0.50% of ")
        assert units.startswith("50.0% of ")
        await ctl.run(2 * HALF)
        ended = here.status()
    assert here.weights() == {"athlete:v1": 50, "athlete:v2": 50}
    assert states(here) == ["1 Observing", "1 Completed"]
    assert past(here) == [(1, "Completed", "HorizonReached")]
    assert ended.progress == "Completed"
    # the report's last numbers are those of the whole horizon
    assert ended.metrics[1].summary == f"50.0% of {here.rate * 2 * HALF:,.0f} units"
    assert here.condition("Ready") == ("True", "all variants are ready")


async def test_a_variant_that_fails_its_ab_test_keeps_its_share(here: World) -> None:
    here.errors = {"athlete:v2": 0.05}
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        run = here.status().run
        assert run is not None
        assert run.verdict == "fail"
        assert verdicts(here)["errors"] == "fail"
        await ctl.run(2 * HALF)
    assert here.weights() == {"athlete:v1": 50, "athlete:v2": 50}
    assert states(here) == ["1 Observing", "1 Completed"]
    assert verdicts(here)["errors"] == "fail"


@pytest.mark.parametrize("weights", [(50, 50), (90, 10), (1, 3)])
async def test_units_are_held_against_the_weights_of_the_test(here: World, weights: tuple[int, int]) -> None:
    async with controller(here) as ctl:
        put(here, **ab_test(*weights))
        await ctl.run(HALF)
        assert verdicts(here)["assignment"] == "pass"
        share = weights[1] / sum(weights)
        assert here.status().metrics[1].summary.startswith(f"{share:.1%} of ")


@pytest.mark.parametrize("weights", [(50, 50), (90, 10)])
async def test_units_that_do_not_fall_as_the_weights_say_are_a_mismatch(here: World, weights: tuple[int, int]) -> None:
    here.units = {"athlete:v2": 0.9}
    async with controller(here) as ctl:
        put(here, **ab_test(*weights))
        await ctl.run(HALF)
        run = here.status().run
        assert run is not None
        assert run.state == "Observing"
        assert run.verdict != "pass"
    assert verdicts(here)["assignment"] == "fail"


async def test_an_ab_test_begins_when_clients_meet_both(here: World) -> None:
    here.pods["athlete:v2"] = STARTING
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        assert here.status().run is None
        del here.pods["athlete:v2"]
        await ctl.run(10)
        run = here.status().run
        assert run is not None
        assert (run.state, run.stable, run.canary) == (
            "Observing",
            *(v.inference_service for v in here.status().variants),
        )


CHANGES: dict[str, Spec] = {
    "what is compared": ab_test(images="v1 v3"),
    "whom it is compared with": ab_test(images="v3 v2"),
    "shares": ab_test(80, 20),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_another_spec_in_the_middle_is_another_test(here: World, change: str) -> None:
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        put(here, **CHANGES[change])
        await ctl.run(3 * HALF)
    assert states(here) == ["1 Observing", "1 Completed", "2 Observing", "2 Completed"]
    assert past(here)[0] == (2, "Completed", "HorizonReached")
    assert past(here)[1][2] in ("Superseded", "PlanChanged")
    # units were held against the shares of their own test
    assert verdicts(here) == {"errors": "pass", "assignment": "pass"}


async def test_what_says_nothing_about_the_test_does_not_end_it(here: World) -> None:
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        put(here, **ab_test(scaleDownDelay="20m", historyLimit=3))
        await ctl.run(HALF / 2)
    assert states(here) == ["1 Observing"]


async def test_another_controller_goes_on_with_the_same_evidence(here: World) -> None:
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        ctl.start_again()
        await ctl.run(HALF / 2)
        assert states(here) == ["1 Observing"]
        units = float(here.status().metrics[1].summary.split()[2].replace(",", ""))
        # all but the tick in which it was started again
        assert units > 0.9 * here.rate * 1.5 * HALF
        await ctl.run(HALF)
    assert past(here) == [(1, "Completed", "HorizonReached")]


async def test_without_metrics_a_test_says_so_and_ends_on_time(here: World) -> None:
    here.outage = "Prometheus does not answer"
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(3 * HALF)
    assert here.weights() == {"athlete:v1": 50, "athlete:v2": 50}
    assert past(here) == [(1, "Completed", "HorizonReached")]
    assert set(verdicts(here).values()) == {"provider-error"}


@pytest.mark.parametrize("spec", [ab_test(), shadow()], ids=["A/B", "shadow"])
async def test_nothing_is_waited_for_when_a_test_is_deleted(here: World, spec: Spec) -> None:
    async with controller(here) as ctl:
        put(here, **spec)
        await ctl.run(HALF)
        assert states(here) == ["1 Observing"]
        here.server.remove("inferencerollouts", "time-estimator")
        assert here.server.all("inferencerollouts") == []
        await ctl.run(30)
        assert ctl.due == {}
    assert here.server.all("httproutes") == []


async def test_a_variant_without_pods_loses_its_share_and_the_test_goes_on(here: World) -> None:
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        here.pods["athlete:v2"] = NONE
        await ctl.run(60)
        assert here.weights() == {"athlete:v1": 50}
        assert states(here) == ["1 Observing"]
        del here.pods["athlete:v2"]
        await ctl.run(HALF / 2)
        assert here.weights() == {"athlete:v1": 50, "athlete:v2": 50}
        assert verdicts(here) == {"errors": "pass", "assignment": "pass"}
        await ctl.run(HALF)
    assert states(here) == ["1 Observing", "1 Completed"]


# shadows


@pytest.mark.parametrize("percent", [100, 20])
async def test_a_shadow_gets_copies_and_is_compared(here: World, percent: int) -> None:
    async with controller(here) as ctl:
        put(here, **shadow(percent))
        await ctl.run(HALF)
    assert here.weights() == {"athlete:v1": 100}
    # REST and gRPC
    assert mirrored(here) == [("athlete:v2", percent)] * 2
    assert states(here) == ["1 Observing"]
    assert verdicts(here) == {"errors": "pass", "errors-in-pods": "pass"}
    copies, of = (int(part.split()[0].replace(",", "")) for part in here.status().metrics[0].summary.split("of ")[1:3])
    assert copies == pytest.approx(of * percent / 100, rel=0.01)


async def test_a_shadow_that_fails_is_only_told_of(here: World) -> None:
    here.errors = {"athlete:v2": 1.0}
    async with controller(here) as ctl:
        put(here, **shadow())
        await ctl.run(HALF)
        run = here.status().run
    assert run is not None
    assert (run.state, run.verdict) == ("Observing", "fail")
    assert here.weights() == {"athlete:v1": 100}
    assert here.condition("Ready") == ("True", "all variants are ready")


@pytest.mark.parametrize("pods", [NONE, STARTING, crashed("no model")], ids=["none", "starting", "crashed"])
async def test_a_shadow_without_ready_pods_harms_nobody(here: World, pods: Any) -> None:
    here.pods["athlete:v2"] = pods
    async with controller(here) as ctl:
        put(here, **shadow())
        await ctl.run(HALF)
        assert here.weights() == {"athlete:v1": 100}
        assert mirrored(here) == []
        assert here.status().run is None
        assert here.condition("Ready")[0] == "False"
        del here.pods["athlete:v2"]
        await ctl.run(60)
        assert mirrored(here) == [("athlete:v2", 100)] * 2
        assert states(here) == ["1 Observing"]
        here.pods["athlete:v2"] = pods
        await ctl.run(HALF)
        assert here.weights() == {"athlete:v1": 100}
        assert mirrored(here) == []
        assert states(here) == ["1 Observing"]
        assert set(verdicts(here).values()) == {"no-data"}


async def test_another_shadow_is_another_run(here: World) -> None:
    async with controller(here) as ctl:
        put(here, **shadow())
        await ctl.run(HALF)
        put(here, **shadow(images="v1 v3"))
        await ctl.run(HALF)
        assert mirrored(here) == [("athlete:v3", 100)] * 2
    assert states(here) == ["1 Observing", "1 Completed", "2 Observing"]
    assert here.weights() == {"athlete:v1": 100}


# other strategies before and after


def canary(version: str) -> Spec:
    steps = [{"weight": 10, "minDuration": "30s"}, {"weight": 50, "minDuration": "30s", "pause": True}]
    analysis = {"metrics": [{"type": "errors"}], "interval": "30s", "warmup": "0s"}
    bundle = {"bundle": {"image": f"athlete:{version}"}}
    return {**bundle, "strategy": {"canary": {"steps": steps, "bake": "1m"}}, "analysis": analysis}


async def half_way(here: World, ctl: Controller) -> None:
    """A canary that waits at half of the requests."""
    put(here, **canary("v1"))
    await ctl.run(60)
    put(here, **canary("v2"))
    await ctl.run(HALF)
    assert here.weights() == {"athlete:v1": 50, "athlete:v2": 50}
    assert here.status().progress == "AwaitingApproval 50% 2/2"


async def test_an_ab_test_in_the_middle_of_a_canary(here: World) -> None:
    async with controller(here) as ctl:
        await half_way(here, ctl)
        put(here, **ab_test(images="v2 v3"))
        await ctl.run(HALF)
        assert here.weights() == {"athlete:v2": 50, "athlete:v3": 50}
        assert here.status().progress == "Observing"
        assert here.status().history[0].outcome == "Aborted"
        await ctl.run(2 * HALF)
    assert here.status().progress == "Completed"


async def test_a_canary_after_an_ab_test(here: World) -> None:
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        put(here, **canary("v3"))
        await ctl.run(10)
        assert here.status().progress == "Analyzing 10% 1/2"
        assert here.weights()["athlete:v3"] == 10
        await ctl.run(HALF)
        assert here.status().progress == "AwaitingApproval 50% 2/2"
    assert [line for line in states(here) if line.startswith("1")] == ["1 Observing", "1 Completed"]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("name", ["canary", "A/B"])
async def test_a_static_spec_ends_a_run_and_says_so(here: World, name: str, version: str) -> None:
    async with controller(here) as ctl:
        if name == "canary":
            await half_way(here, ctl)
        else:
            put(here, **ab_test())
            await ctl.run(HALF)
        put(here, bundle={"image": f"athlete:{version}"}, strategy={"static": {}})
        await ctl.run(60)
        assert here.weights() == {f"athlete:{version}": 100}
        assert past(here)[0] == (1, "Completed", "StrategyChanged")
        assert here.status().run is None
        # nothing holds up a deletion
        here.server.remove("inferencerollouts", "time-estimator")
        assert here.server.all("inferencerollouts") == []


async def test_runs_are_counted_on_after_a_static_spec(here: World) -> None:
    async with controller(here) as ctl:
        await half_way(here, ctl)
        put(here, bundle={"image": "athlete:v2"}, scaleDownDelay="2h")
        await ctl.run(60)
        put(here, **canary("v2"), scaleDownDelay="2h")
        await ctl.run(60)
        # nothing that was decided before is decided again
        assert here.weights() == {"athlete:v2": 100}
        put(here, **canary("v3"), scaleDownDelay="2h")
        await ctl.run(60)
        run = here.status().run
        assert run is not None
        assert run.number == 2
        assert [entry.number for entry in here.status().history] == [1]


async def test_analysis_that_is_taken_away_ends_an_ab_test(here: World) -> None:
    async with controller(here) as ctl:
        put(here, **ab_test())
        await ctl.run(HALF)
        put(here, **{**ab_test(), "analysis": None})
        await ctl.run(60)
    assert past(here) == [(1, "Completed", "AnalysisRemoved")]
    assert here.weights() == {"athlete:v1": 50, "athlete:v2": 50}
