"""Which revisions get weight: examples, and what holds whatever is seen."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rollout.tests.rollouts import rollout

from tandem.contract import Contract
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.spec import Rollout
from tandem_rollout.controller.observation import Observed, Verification
from tandem_rollout.controller.weights import WeightPlan, plan_weights
from tandem_rollout.render.revision import Revision

NOW = 1_000_000.0


def contract(**fields: Any) -> Contract:
    described = {
        "model": "time-estimator",
        "serving_keys": {"athlete_id": {"type": "string"}},
        "passed_features": {},
        "request_parameters": fields,
        "prediction": {"name": "seconds", "field": {"type": "float64"}},
        "outputs": {},
    }
    return msgspec.convert(described, Contract)


def verification(**fields: Any) -> Verification:
    return Verification(version="v1", digest="d", contract=contract(**fields))


def revisions(of: Rollout) -> list[Revision]:
    return [Revision.of(of, variant) for variant in of.spec.all_variants]


def seen(revision: Revision, *, pods: int = 1, **fields: Any) -> Observed:
    fields.setdefault("verification", verification())
    return Observed(variant=revision.variant.name, name=revision.name, transformers=pods, predictors=pods, **fields)


def decide(of: Rollout, *observed: Observed, now: float = NOW) -> WeightPlan:
    return plan_weights(of, revisions(of), observed, now)


def test_weight_waits_for_the_proof() -> None:
    of = rollout()
    v1, v2 = revisions(of)
    assert decide(of).weights == {}
    assert decide(of, seen(v1, verification=None)).weights == {}
    assert decide(of, seen(v1), seen(v2, verification=None)).weights == {v1.name: 90}
    assert decide(of, seen(v1, weight=90), seen(v2)).weights == {v1.name: 90, v2.name: 10}


def test_a_refuted_proof_takes_the_weight() -> None:
    of = rollout()
    v1, v2 = revisions(of)
    failed = seen(v2, weight=10, verification=None, fatal=True)
    assert decide(of, seen(v1, weight=90), failed).weights == {v1.name: 90}


def test_what_serves_goes_on_while_a_new_controller_asks_for_proofs() -> None:
    of = rollout()
    v1, v2 = revisions(of)
    unproven = [seen(v1, weight=90, verification=None), seen(v2, weight=10, verification=None)]
    assert decide(of, *unproven).weights == {v1.name: 90, v2.name: 10}


def test_a_variant_without_pods_loses_its_weight_to_the_others() -> None:
    of = rollout()
    v1, v2 = revisions(of)
    assert decide(of, seen(v1, weight=90, pods=0), seen(v2, weight=10)).weights == {v2.name: 10}


def test_where_nothing_is_usable_the_weights_stay() -> None:
    of = rollout()
    v1, v2 = revisions(of)
    down = [seen(v1, weight=90, pods=0), seen(v2, weight=10, pods=0)]
    assert decide(of, *down).weights == {v1.name: 90, v2.name: 10}


def test_an_edit_replaces_a_version_when_the_new_one_is_ready_and_as_large() -> None:
    old = revisions(rollout(bundle={"image": "athlete:v1"}))[0]
    of = rollout(bundle={"image": "athlete:v2"})
    (new,) = revisions(of)
    serving = seen(old, weight=100, pods=3)
    assert decide(of, serving).weights == {old.name: 100}
    plan = decide(of, serving, seen(new, pods=2))
    assert (plan.weights, plan.min_pods) == ({old.name: 100}, {new.name: (3, 3)})
    plan = decide(of, serving, seen(new, pods=3))
    assert (plan.weights, plan.retired, plan.obsolete) == ({new.name: 100}, (old.name,), ())


def test_what_was_replaced_goes_when_it_was_kept_long_enough() -> None:
    old = revisions(rollout(bundle={"image": "athlete:v1"}))[0]
    of = rollout(bundle={"image": "athlete:v2"}, scaleDownDelay="1m")
    (new,) = revisions(of)
    serving = seen(new, weight=100)
    assert decide(of, serving, seen(old, retired_at=NOW - 59)).obsolete == ()
    assert decide(of, serving, seen(old, retired_at=NOW - 60)).obsolete == (old.name,)
    assert decide(of, serving, seen(old, weight=1, retired_at=NOW - 60)).obsolete == ()


def test_a_contract_that_breaks_clients_gets_no_weight() -> None:
    of = rollout()
    v1, v2 = revisions(of)
    breaking = verification(distance_km={"type": "float64"})
    plan = decide(of, seen(v1, weight=90), seen(v2, verification=breaking))
    assert plan.weights == {v1.name: 90}
    message = f"its contract breaks clients of {v1.name}: distance_km: added, required"
    assert plan.rejected == {v2.name: Cause("ContractBroken", message)}


def test_the_first_variant_sets_the_contract() -> None:
    of = rollout()
    v1, v2 = revisions(of)
    plan = decide(of, seen(v1), seen(v2, verification=verification(distance_km={"type": "float64"})))
    assert (plan.weights, list(plan.rejected)) == ({v1.name: 90}, [v2.name])


def test_a_breaking_contract_may_be_allowed() -> None:
    variants = [{"name": name, "bundle": {"image": f"athlete:{name}"}, "weight": 50} for name in ("v1", "v2")]
    of = rollout(variants=variants, allowBreakingContract=True)
    v1, v2 = revisions(of)
    plan = decide(of, seen(v1, weight=50), seen(v2, verification=verification(distance_km={"type": "float64"})))
    assert plan.weights == {v1.name: 50, v2.name: 50}


def test_blue_green_switches_at_once_and_back() -> None:
    def coloured(active: str) -> Rollout:
        variants = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("blue", "green")]
        return rollout(variants=variants, strategy={"blueGreen": {"active": active}})

    blue, green = revisions(coloured("blue"))
    both = [seen(blue, weight=100), seen(green)]
    assert decide(coloured("blue"), *both).weights == {blue.name: 100}
    plan = decide(coloured("green"), *both)
    assert (plan.weights, set(plan.reachable)) == ({green.name: 100}, {blue.name, green.name})
    waiting = [seen(blue, weight=100), seen(green, verification=None)]
    assert decide(coloured("green"), *waiting).weights == {blue.name: 100}


def test_blue_green_switches_to_as_many_pods_as_serve_now() -> None:
    variants = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("blue", "green")]
    of = rollout(variants=variants, strategy={"blueGreen": {"active": "green"}})
    blue, green = revisions(of)
    serving = seen(blue, weight=100, pods=3)
    plan = decide(of, serving, seen(green, pods=1))
    assert (plan.weights, plan.min_pods) == ({blue.name: 100}, {green.name: (3, 3)})
    assert decide(of, serving, seen(green, pods=3)).weights == {green.name: 100}


def test_green_stays_within_reach_while_it_grows_for_the_switch() -> None:
    variants = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("blue", "green")]
    of = rollout(variants=variants, strategy={"blueGreen": {"active": "green"}})
    blue, green = revisions(of)
    plan = decide(of, seen(blue, weight=100, pods=3), seen(green, pods=1))
    assert plan.weights == {blue.name: 100}
    assert set(plan.reachable) == {blue.name, green.name}


def test_a_variant_without_weight_is_within_reach_until_its_successor_is_ready() -> None:
    def canary(image: str) -> Rollout:
        variants = [{"name": "v1", "bundle": {"image": "athlete:v1"}, "weight": 1}]
        return rollout(variants=[*variants, {"name": "v2", "bundle": {"image": image}}])

    v1, old = revisions(canary("athlete:v2"))
    of = canary("athlete:v3")
    _, new = revisions(of)
    there = [seen(v1, weight=1), seen(old, reached=True)]
    assert decide(of, *there, seen(new, verification=None)).reachable == (v1.name, old.name)
    assert decide(of, *there, seen(new)).reachable == (v1.name, new.name)


def test_the_others_do_not_get_the_share_of_a_variant_that_is_renamed() -> None:
    def named(name: str) -> Rollout:
        variants = [("v1", 90), ("v2", 10)]
        return rollout(
            variants=[
                {
                    "name": name if version == "v1" else version,
                    "bundle": {"image": f"athlete:{version}"},
                    "weight": weight,
                }
                for version, weight in variants
            ]
        )

    v1, v2 = revisions(named("v1"))
    of = named("stable")
    stable, _ = revisions(of)
    serving = [seen(v1, weight=90, pods=4), seen(v2, weight=10)]
    assert decide(of, *serving).weights == {v1.name: 90, v2.name: 10}
    plan = decide(of, *serving, seen(stable, pods=3))
    assert (plan.weights, plan.min_pods) == ({v1.name: 90, v2.name: 10}, {stable.name: (4, 4)})
    plan = decide(of, *serving, seen(stable, pods=4))
    assert (plan.weights, plan.retired) == ({stable.name: 90, v2.name: 10}, (v1.name,))


def test_a_bundle_serves_until_each_of_the_variants_that_replace_it_is_ready() -> None:
    (main,) = revisions(rollout(bundle={"image": "athlete:v1"}))
    of = rollout()
    v1, v2 = revisions(of)
    serving = seen(main, weight=100, pods=4)
    assert decide(of, serving).weights == {main.name: 100}
    plan = decide(of, serving, seen(v2))
    assert (plan.weights, plan.min_pods) == ({main.name: 90, v2.name: 10}, {v1.name: (4, 4), v2.name: (1, 1)})
    assert decide(of, serving, seen(v1, pods=4), seen(v2)).weights == {v1.name: 90, v2.name: 10}


observations = st.builds(
    dict,
    transformers=st.integers(0, 3),
    predictors=st.integers(0, 3),
    weight=st.sampled_from([0, 10, 90]),
    verification=st.sampled_from([None, verification(), verification(distance_km={"type": "float64"})]),
    fatal=st.booleans(),
)


@given(st.lists(observations, min_size=3, max_size=3), st.booleans())
def test_weight_never_goes_to_what_cannot_serve_while_something_can(field_sets: list[Any], blue_green: bool) -> None:
    names = ("v1", "v2")
    variants = [{"name": name, "bundle": {"image": f"athlete:{name}"}, "weight": 50} for name in names]
    of = rollout(variants=variants, **({"strategy": {"blueGreen": {"active": "v2"}}} if blue_green else {}))
    older = revisions(rollout(variants=[{**variants[0], "bundle": {"image": "athlete:v0"}}]))[0]
    observed = [
        Observed(variant=revision.variant.name, name=revision.name, **fields)
        for revision, fields in zip([*revisions(of), older], field_sets, strict=True)
    ]
    plan = decide(of, *observed)
    by_name = {observation.name: observation for observation in observed}
    changed = {name for name, weight in plan.weights.items() if weight and not by_name[name].weight}
    assert all(by_name[name].usable and name not in plan.rejected for name in changed)
    incumbents = {name for name, weight in plan.weights.items() if weight and by_name[name].weight}
    alternative = any(observation.usable and observation.name in plan.weights for observation in observed)
    assert all(by_name[name].running for name in incumbents) or not alternative or not changed
    assert not set(plan.obsolete) & {name for name, weight in plan.weights.items() if weight}
    assert all(not by_name[name].weight for name in plan.obsolete)
